"""Faults in the story of one request: admit, forward, relay, settle."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ENDPOINT, EXCHANGE, RELAY = "app/proxy/endpoint.py", "app/proxy/exchange.py", "app/proxy/relay.py"
ANSWER = "app/proxy/upstream/httpx_answer.py"

STORY = (
    Mutant(
        "the intent is skipped",
        "nothing is forwarded before its row is committed",
        EXCHANGE,
        "        verdict = await self._ledger.admit(intent)\n",
        '        verdict: Admitted | Refused = Admitted(intent.request_id, "nobody", None, ())\n',
        ("tests/proxy/test_ends.py", "tests/proxy/test_disconnects.py"),
    ),
    Mutant(
        "the intent is not waited for",
        "nothing is forwarded before its row is committed",
        EXCHANGE,
        "        verdict = await self._ledger.admit(intent)\n",
        "        self._writing = asyncio.ensure_future(self._ledger.admit(intent))\n"
        '        verdict: Admitted | Refused = Admitted(intent.request_id, "nobody", None, ())\n',
        ("tests/proxy/test_ends.py",),
    ),
    Mutant(
        "a stream ends before its commit",
        "who saw the end can rely on the cost",
        RELAY,
        "            await self.exchange.settle(self.tap.reading)\n            if (rest",
        "            await self.down.body(chunk[wait_from:])\n"
        "            chunk = chunk[:wait_from]\n"
        "            await self.exchange.settle(self.tap.reading)\n            if (rest",
        ("tests/proxy/test_commits.py", "tests/proxy/test_ends.py"),
    ),
    Mutant(
        "what came during the commit is lost",
        "every byte of the upstream's body reaches the client",
        RELAY,
        "_finish(chunk[wait_from:] + rest)",
        "_finish(chunk[wait_from:])",
        ("tests/proxy/test_commits.py",),
    ),
    Mutant(
        "a body ends before its commit",
        "who saw the end can rely on the cost",
        RELAY,
        "        await self.exchange.settle(reading)\n        if reading.failed:\n"
        '            self.headers.append((b"x-error-source", b"upstream"))\n'
        "        await self.down.whole(self.answer.status, self.headers, body)\n",
        "        await self.down.whole(self.answer.status, self.headers, body)\n"
        "        await self.exchange.settle(reading)\n",
        ("tests/proxy/test_commits.py", "tests/proxy/test_ends.py"),
    ),
    Mutant(
        "the last byte does not wait",
        "who saw the end can rely on the cost",
        RELAY,
        "        await self.down.body(chunk[:-1])\n",
        '        await self.down.body(chunk)\n        chunk = b""\n',
        ("tests/proxy/test_commits.py",),
    ),
    Mutant(
        "settled only while the client is there",
        "leaving early costs the same (as a generator's last lines would not)",
        EXCHANGE,
        "        if self._settled or self._intent is None or self.admitted is None:\n",
        "        if self._settled or self._intent is None or self.admitted is None or self.connection.gone:\n",
        ("tests/proxy/test_disconnects.py",),
    ),
    Mutant(
        "an abandoned answer is not read on",
        "no cost is evaded by leaving",
        EXCHANGE,
        "        if not self._gone.drain:\n",
        "        if self._gone.drain:\n",
        ("tests/proxy/test_disconnects.py",),
    ),
    Mutant(
        "settled twice",
        "one line, one settlement",
        EXCHANGE,
        "        self._settled = True\n",
        "",
        ("tests/proxy/test_privacy.py",),
    ),
    Mutant(
        "tried again after bytes were written",
        "what may have been billed is never sent twice",
        "app/proxy/upstream/connecting.py",
        "isinstance(failure, UpstreamTimeout) or failure.sent:",
        "isinstance(failure, UpstreamTimeout):",
        ("tests/proxy/upstream/test_contract_faults.py", "tests/proxy/upstream/test_contract_reuse.py"),
    ),
    Mutant(
        "redirects are followed",
        "one upstream, from the settings only",
        ANSWER,
        "        self._request = _SENT  # the body is not held while the answer is read\n",
        "        if 300 <= response.status < 400:\n"
        "            await response.aclose()\n"
        '            self._url = httpcore.URL(next(v for n, v in response.headers if n.lower() == b"location"))\n'
        "            response = await self._try()\n",
        ("tests/proxy/upstream/test_contract_answers.py", "tests/proxy/test_ends.py"),
    ),
    Mutant(
        "redirects are passed on",
        "a redirect is a 502 without a Location",
        RELAY,
        "        if 300 <= status < 400 and status != 304:\n",
        "        if status < 0:\n",
        ("tests/proxy/test_ends.py",),
    ),
    Mutant(
        "the upstream's 401 reaches the client",
        "our key's refusal is no news for a team",
        RELAY,
        "        if status == 401:\n",
        "        if status == 0:\n",
        ("tests/proxy/test_ends.py",),
    ),
    Mutant(
        "an HTML error page passes",
        "an error is JSON, or ours",
        RELAY,
        "        if not self.tap.reading.complete or status > STATUS_MAX:\n",
        "        if status > STATUS_MAX:\n",
        ("tests/proxy/test_ends.py",),
    ),
    Mutant(
        "a broken stream ends cleanly",
        "a cut answer is seen to be cut",
        ENDPOINT,
        "                await down.body(error_event(refusal, tap.last_sequence_number))\n        down.cut()\n",
        "                await down.body(error_event(refusal, tap.last_sequence_number))\n        await down.end()\n",
        ("tests/proxy/test_ends.py",),
    ),
    Mutant(
        "a body without bounds",
        "413 above IRG_REQUEST_BYTES_MAX",
        "app/proxy/request_body.py",
        "            if total > self._bytes_max:\n",
        "            if total < 0:\n",
        ("tests/proxy/test_limits.py",),
    ),
    Mutant(
        "an answer that goes on is left open",
        "an upstream that is read no more is cut, or given back",
        "app/proxy/exchange.py",
        "if (self._answer is not None and not self._answer.closed) or not self._settled:",
        "if not self._settled:",
        ("tests/proxy/test_exchange.py",),
    ),
    Mutant(
        "a body that came at once without bounds",
        "413 above IRG_REQUEST_BYTES_MAX",
        "app/proxy/request_body.py",
        "        if len(body) > self._bytes_max:",
        "        if len(body) < 0:",
        ("tests/proxy/test_limits.py",),
    ),
)
