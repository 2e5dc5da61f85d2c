"""The report page: what stands first, nothing that a browser would run, and each part that may be missing."""

from dataclasses import replace
from html.parser import HTMLParser

from adbazureml.report.page import Picture, Report, ReportedModel, ReportedRun, ReportedVersion

EMPTY = Report(title="prices", experiment="/Users/ada/prices", made_at="2026-11-28 20:00 UTC")
LINKS = (("Databricks", "https://adb.example/runs/1"), ("Azure ML", "https://ml.example/runs/2"))


def run(name, said="", **given):
    return ReportedRun(name=name, said=said, links=LINKS, **given)


def model(state="passed", name="prices", **given):
    versions = (ReportedVersion(number="2", state=state, said="Validation: better", links=LINKS),)
    return ReportedModel(name=name, champion="champion of prices: version 2", versions=versions, **given)


WHOLE = replace(
    EMPTY,
    models=(model(),),
    trained=(run("sklearn", metrics={"valid_mae": 40.891}, in_sync=True),),
    validated=run("validate", "prices/2 may take the place of version 1."),
    deployed=run("deploy", "Endpoint prices answers as models:/prices/2 does."),
    scored=run("score", "89 rows scored.", pictures=(Picture(png=b"histogram", said="How they are spread"),)),
    monitored=run("monitor", "No drift in 11 columns.", metrics={"drift_columns": 0.0}),
)


class Parsed(HTMLParser):
    """Elements in order, with their attributes, and the text of each."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [text for where, text in self.texts if where == tag]

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def states(report):
    return [box.get("class") for box in Parsed(report.to_html()).all("li") if "class" in box]


def test_what_is_in_use_and_what_to_do_stand_before_the_details():
    page = Parsed(WHOLE.to_html())
    assert page.of("h1") == ["prices"]
    titles = ["What to do next", "Champion and challengers", "Endpoint", "Scored rows", "Drift", "Runs"]
    assert page.of("h2") == titles
    boxes = [text for where, text in page.texts[: page.texts.index(("h2", titles[0]))] if where == "p"]
    assert boxes[1:] == [
        "champion of prices: version 2",
        "Endpoint prices answers as models:/prices/2 does.",
        "89 rows scored.",
        "No drift in 11 columns.",
    ]
    assert states(WHOLE) == ["good"] * 4
    assert WHOLE.next_steps() == ()
    assert "Nothing waits for you" in WHOLE.to_html()


def test_it_needs_no_network_and_is_read_without_eyes():
    page = Parsed(WHOLE.to_html())
    assert page.all("html") == [{"lang": "en"}]
    assert [image["src"] for image in page.all("img")] == ["data:image/png;base64,aGlzdG9ncmFt"]
    assert [image["alt"] for image in page.all("img")] == ["How they are spread"]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.elements}
    assert len(page.of("caption")) == len(page.all("table")) == 2
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    inside = {section["id"] for section in page.all("section")}
    assert {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")} <= inside
    assert ("td", "valid_mae 40.89") in page.texts


def test_what_others_wrote_is_text_and_only_web_addresses_are_links():
    bad = '<script>alert("1")</script>'
    links = ((bad, 'https://ml.example/?a=1&b="2"\''), ("Azure ML", "javascript:alert(1)"))
    said = run(bad, bad, metrics={bad: 1.0}, pictures=(Picture(png=b"", said=f'"{bad}'),))
    versions = (ReportedVersion(number=bad, state=bad, said=bad, links=links),)
    report = Report(
        title=bad,
        experiment=bad,
        made_at=bad,
        models=(ReportedModel(name=bad, champion=bad, agrees=False, versions=versions),),
        trained=(replace(said, links=links, in_sync=False),),
        validated=said,
        deployed=said,
        scored=said,
        monitored=said,
    )
    page = Parsed(report.to_html())
    assert page.all("script") == []
    addresses = {link["href"] for link in page.all("a") if not link["href"].startswith("#")}
    assert addresses == {links[0][1], *(address for _, address in LINKS)}
    assert "Azure ML javascript:alert(1)" in "".join(page.of("td"))


def test_parts_that_are_missing_are_told():
    page = Parsed(EMPTY.to_html())
    assert states(EMPTY) == ["none"] * 4
    said = "".join(page.of("p"))
    for missing in ("No version is registered.", "No version was validated.", "No endpoint was deployed.", "No run."):
        assert missing in said
    assert page.all("table") == page.all("img") == []
    assert "No table was scored." in said


def test_nothing_new_to_score_is_no_alarm():
    quiet = replace(WHOLE, scored=run("score", "Nothing new to score in houses; predictions holds 267 rows."))
    assert quiet.next_steps() == ()
    assert states(quiet) == ["good"] * 4


def test_what_failed_is_first_to_be_looked_at_and_says_what_to_do():
    failed = replace(
        WHOLE,
        models=(model("failed"), model(name="others", agrees=False)),
        trained=(run("sklearn", in_sync=False), run("spark-ml", in_sync=False, status="RUNNING")),
        deployed=run("deploy", status="FAILED"),
        monitored=run("monitor", "2 of 11 columns drifted.", metrics={"drift_columns": 2.0}),
    )
    assert states(failed) == ["good", "look", "good", "look"]
    begins = ("06_deploy ended with an error", "Champion: ", "Columns drifted", "The newest version failed", "In Azure")
    steps = failed.next_steps()
    assert len(steps) == len(begins)
    assert all(step.startswith(begin) for step, begin in zip(steps, begins, strict=True)), steps
    assert steps[-1] == "In Azure ML something is missing of sklearn: run catch_up."
    assert "It ended with an error, which its notebook or job shows." in failed.to_html()
