"""The verbs of the gateway: identify, admit, settle, and what admins ask for. They know neither SQL nor HTTP."""
