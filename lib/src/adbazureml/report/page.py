"""The report as plain values, and as an HTML page that needs no other file and no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from adbazureml.text import html_page, is_address, link

Link = tuple[str, str]
Cell = str | tuple[Link, ...]

# What a state is called, and by which class it is coloured.
GOOD, LOOK, NONE = "good", "look", "none"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that a run keeps.

    Attributes
    ----------
    png : bytes
    said : str
        What it shows, for readers who can't see it.
    """

    png: bytes = field(repr=False)
    said: str


@dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """A run, and where it is.

    Attributes
    ----------
    name : str
    status : str
        As MLflow has it, such as ``"FINISHED"``.
    said : str
        Its description: what came of it.
    metrics : mapping of str to float
    links : tuple of (str, str)
        Workspace and address, for each workspace that has the run.
    in_sync : bool or None
        Whether its counterpart is equal; None where it has none.
    pictures : tuple of Picture
    """

    name: str
    status: str = "FINISHED"
    said: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    in_sync: bool | None = None
    pictures: tuple[Picture, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it ended before its step was done."""
        return self.status in ("FAILED", "KILLED")


@dataclass(frozen=True, kw_only=True)
class ReportedVersion:
    """A registered version.

    Attributes
    ----------
    number : str
    is_champion : bool
    state : str
        What its validation came to, in a word; empty: it was not validated.
    said : str
        Its description, with the reasons.
    links : tuple of (str, str)
        Workspace and address, for each registry that has it.
    """

    number: str
    is_champion: bool = False
    state: str = ""
    said: str = ""
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportedModel:
    """A registered model with its newest versions.

    Attributes
    ----------
    name : str
    champion : str
        Which version each registry has as the champion, in a sentence; or why that is not known.
    agrees : bool
        Whether that is known, and the same.
    versions : tuple of ReportedVersion
        The newest first.
    """

    name: str
    champion: str = ""
    agrees: bool = True
    versions: tuple[ReportedVersion, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the walk came to.

    Attributes
    ----------
    title : str
        Name of the model in use.
    experiment : str
    made_at : str
        The time, UTC.
    models : tuple of ReportedModel
        The model in use first.
    trained : tuple of ReportedRun
        The runs that made the newest versions.
    validated, deployed, scored, monitored : ReportedRun or None
        The newest run of each step; None where there was none.
    """

    title: str
    experiment: str
    made_at: str
    models: tuple[ReportedModel, ...] = ()
    trained: tuple[ReportedRun, ...] = ()
    validated: ReportedRun | None = None
    deployed: ReportedRun | None = None
    scored: ReportedRun | None = None
    monitored: ReportedRun | None = None

    def log(self) -> None:
        """Log the page to the active MLflow run, as ``report.html``."""
        import mlflow

        mlflow.log_text(self.to_html(), "report.html")

    def write(self, path: Path) -> None:
        """Write the page to a file."""
        path.write_text(self.to_html(), encoding="utf-8")

    def next_steps(self) -> tuple[str, ...]:
        """What to do next, the most urgent first."""
        steps = []
        for name, run in (
            ("06_deploy", self.deployed),
            ("07_batch_score", self.scored),
            ("08_monitor", self.monitored),
        ):
            if run is not None and run.failed:
                steps.append(f"{name} ended with an error: run it again, and read what it says.")
        steps += [f"Champion: {model.champion}" for model in self.models if not model.agrees]
        if _drifted(self.monitored):
            steps.append(
                "Columns drifted: look at their pictures below. Train anew with 03_train_and_log, or raise "
                "drift_threshold if this is no concern."
            )
        if self.validated is not None and _state(self.models) == "failed":
            steps.append("The newest version failed its validation, and is not in use: the reasons are below.")
        behind = [run.name for run in self._runs() if run.in_sync is False and run.status != "RUNNING"]
        if behind:
            steps.append(f"In Azure ML something is missing of {', '.join(behind)}: run catch_up.")
        return tuple(steps)

    def _runs(self) -> list[ReportedRun]:
        stages = (self.validated, self.deployed, self.scored, self.monitored)
        return [*self.trained, *(run for run in stages if run is not None)]

    def to_html(self) -> str:
        """The page: the state of things in four boxes, what to do next, then each step with reasons and pictures."""
        made = f"Experiment {self.experiment}, {self.made_at}"
        body = [
            f"<header><h1>{escape(self.title)}</h1><p>{escape(made)}</p></header>",
            f"<main>{self._boxes()}{self._next()}",
            _section("champion", "Champion and challengers", self._champions()),
            _section("endpoint", "Endpoint", _told(self.deployed, "No endpoint was deployed.")),
            _section("rows", "Scored rows", _told(self.scored, "No table was scored.")),
            _section("drift", "Drift", _told(self.monitored, "No scored rows were compared with the training data.")),
            _section("runs", "Runs", self._run_table()),
            "</main>",
        ]
        return html_page(f"{self.title}: report", "".join(body))

    def _boxes(self) -> str:
        model = self.models[0] if self.models else None
        champion = model.champion if model else "No version is registered."
        boxes = (
            ("champion", "Champion", champion, NONE if model is None else GOOD if model.agrees else LOOK),
            ("endpoint", "Endpoint", *_summary(self.deployed, "Not deployed.")),
            ("rows", "Scored rows", *_summary(self.scored, "None.")),
            ("drift", "Drift", *_summary(self.monitored, "Not looked at.", look=_drifted(self.monitored))),
        )
        words = {GOOD: "fine", LOOK: "look at this", NONE: "nothing yet"}
        return "".join(
            [
                '<ul class="boxes">',
                *(
                    f'<li class="{state}"><a href="#{place}">{title}</a> <em>{words[state]}</em>'
                    f"<p>{escape(said)}</p></li>"
                    for place, title, said, state in boxes
                ),
                "</ul>",
            ]
        )

    def _next(self) -> str:
        steps = self.next_steps() or (
            "Nothing waits for you. 09_clean_up lists what was made, and deletes it if asked.",
        )
        return _section("next", "What to do next", f"<ol>{''.join(f'<li>{escape(step)}</li>' for step in steps)}</ol>")

    def _champions(self) -> str:
        parts = [_told(self.validated, "No version was validated.")]
        for model in self.models:
            rows: list[Sequence[Cell]] = [
                (
                    f"{version.number}{' champion' if version.is_champion else ''}",
                    version.state or "not validated",
                    version.said,
                    version.links,
                )
                for version in model.versions
            ]
            parts.append(f"<h3>{escape(model.name)}</h3><p>{escape(model.champion)}</p>")
            parts.append(
                _table(
                    f"Newest versions of {model.name}", ("version", "validation", "what is said of it", "pages"), rows
                )
            )
        return "".join(parts)

    def _run_table(self) -> str:
        rows: list[Sequence[Cell]] = [
            (
                run.name,
                run.status.lower(),
                _figures(run.metrics),
                {None: "", True: "yes", False: "not yet"}[run.in_sync],
                run.links,
            )
            for run in self._runs()
        ]
        if not rows:
            return "<p>No run.</p>"
        return _table(
            "The runs that made the newest versions, and the newest of each step",
            ("run", "status", "figures", "equal in Azure ML", "pages"),
            rows,
        )


def _state(models: Sequence[ReportedModel]) -> str:
    """What the validation of the newest version of the model in use came to."""
    return models[0].versions[0].state if models and models[0].versions else ""


def _drifted(run: ReportedRun | None) -> bool:
    return run is not None and run.metrics.get("drift_columns", 0) > 0


def _summary(run: ReportedRun | None, without: str, *, look: bool = False) -> tuple[str, str]:
    """What a box says of a step, and its state."""
    if run is None:
        return without, NONE
    if run.failed:
        return "It ended with an error.", LOOK
    return run.said or run.name, LOOK if look else GOOD


def _told(run: ReportedRun | None, without: str) -> str:
    """What came of a step, its pictures, and where its run is."""
    if run is None:
        return f"<p>{escape(without)}</p>"
    said = "It ended with an error, which its notebook or job shows." if run.failed else run.said
    pictures = "".join(
        f'<img alt="{escape(picture.said)}" src="data:image/png;base64,{b64encode(picture.png).decode()}">'
        for picture in run.pictures
    )
    pages = f"<p>Run {escape(run.name)}: {_cell(run.links)}</p>" if run.links else ""
    return f"<p>{escape(said)}</p>{pictures}{pages}"


def _section(place: str, title: str, body: str) -> str:
    return f'<section id="{place}"><h2>{escape(title)}</h2>{body}</section>'


def _table(caption: str, titles: Iterable[str], rows: Iterable[Sequence[Cell]]) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{_cell(first)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell).replace("\n", "<br>")
    # An address comes from a tag, which anybody may have written.
    return " · ".join(
        link(address, where) if is_address(address) else escape(f"{where} {address}") for where, address in cell
    )


def _figures(metrics: Mapping[str, float]) -> str:
    return "\n".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
