"""A service of this machine that gives prepared answers: what a real archive cannot be made to say."""

import http.server
import threading

from GTRStagingLib.support.addresses import parse_web_address


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers from a list; the last one remains."""

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        status, body = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        content = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", body)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(content) + (9 if status == 206 else 0)))  # 206: breaks off
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_):
        pass


class answering:  # noqa: N801
    """A service that gives these answers, (status, body), one after the other; yields its address and the requests."""

    def __init__(self, answers):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.answers, self._server.seen = list(answers), []

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return parse_web_address(f"dicomweb:http://127.0.0.1:{self._server.server_port}"), self._server.seen

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
