"""What leaves the gateway beside the requests of its clients: alerts, and questions about models and credits.

The only place below the data plane that speaks HTTP. It fills the ports of the accounts
(`accounts.sending`), who are handed it. Proxies of the environment are not used.
"""
