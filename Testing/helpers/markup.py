"""Parse pages."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Tags, visible texts and table rows of a page; raises if the tags are not nested."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.texts, self.rows = [], [], [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        text = " ".join(data.split())
        if not text or {"style", "script"} & {*self.open}:
            return
        self.texts.append(text)
        if "tr" in self.open:
            self.rows[-1].append(text)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(self.texts)
