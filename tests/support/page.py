"""Parses an HTML page strictly: every element must be closed, and every id unique."""

from html.parser import HTMLParser

VOID = {"br", "hr", "img", "input", "link", "meta"}
UNSEEN = {"head", "noscript", "script", "style", "svg", "title"}

Attributes = dict[str, str | None]


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.declarations: list[str] = []
        self.elements: list[tuple[str, Attributes]] = []
        self.words: list[str] = []  # the visible ones
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == [], "not closed"
        assert self.declarations == ["doctype html"]
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in self.elements:
            references = {attributes[key] for key in ("for", "aria-describedby") if key in attributes}
            assert references <= set(ids)

    def all(self, tag: str, **wanted: str) -> list[Attributes]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    def one(self, tag: str, **wanted: str) -> Attributes:
        [attributes] = self.all(tag, **wanted)
        return attributes

    def says(self, sentence: str) -> bool:
        return f" {sentence} " in f" {' '.join(self.words)} "

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self._open, f"{tag} does not close itself in HTML"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if UNSEEN.isdisjoint(self._open):
            self.words += data.split()
