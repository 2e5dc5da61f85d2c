"""What a scoring server answers to whom: one table of requests, and the rules by which answers are compared.

There are no canned answers: `mlflow models serve` is asked the same, beside ours. What an answer is worth is told by
`worth`, from what kind of request it answers.
"""

import gzip
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
import requests

JSON, CSV = "application/json", "text/csv"
AGE, VISITS = 3.5, 1.0
PLAIN = {"age": AGE, "visits": VISITS}
BASE = AGE * 2 + VISITS / 7
SPLIT = {"columns": ["age", "visits"], "data": [[AGE, VISITS]]}
LONGEST_SENTENCE = 600


@dataclass(frozen=True)
class Row:
    """A request, and what kind of answer it deserves.

    Attributes:
        kind: "good" is answered with `predictions`; "bad" is the caller's mistake; "fault" the model's own.
        said: what ours says of a bad one: the column, or the field.
        typed: whether it needs a model with columns of all types.
        age: whether it needs a model that does something of its own at some age.
        headers: of the request, beside the content type; None for a content type: none is sent.
        code: the status of ours, where it is another than is usual for its kind.
    """

    name: str
    kind: Literal["good", "bad", "fault"]
    body: Any = b""
    content_type: str | None = JSON
    predictions: list[float | None] = field(default_factory=list)
    said: str = ""
    typed: bool = False
    age: bool = False
    method: str = "POST"
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    code: int = 0

    @property
    def status(self) -> int:
        return self.code or {"good": 200, "bad": 400, "fault": 500}[self.kind]

    @property
    def sent(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def good(name, body, *predictions, **more):
    return Row(name, "good", body, predictions=list(predictions or [BASE]), **more)


def bad(name, body, said="", **more):
    return Row(name, "bad", body, said=said, **more)


def fault(name, age):
    return Row(name, "fault", records({"age": age}), age=True)


def records(*changes):
    return {"dataframe_records": [{**PLAIN, **change} for change in changes]}


def typed(name, value, prediction):
    return good(f"{name} {value!r}", records({name: value}), BASE + prediction, typed=True)


def refused(name, value):
    return bad(f"{name} {value!r}", records({name: value}), name, typed=True)


MANY = pd.DataFrame({"age": [AGE] * 20_000, "visits": [VISITS] * 20_000}).to_dict(orient="split", index=False)

ROWS = [
    # Every format.
    good("split", {"dataframe_split": SPLIT}),
    good("split with index", {"dataframe_split": {**SPLIT, "index": [7]}}),
    good("split in another order", {"dataframe_split": {"columns": ["visits", "age"], "data": [[1, 3.5]]}}),
    good("records", records({})),
    good("records in another order", {"dataframe_records": [{"visits": 1, "age": 3.5}]}),
    good("two records", records({}, {"age": 4.0}), BASE, BASE + 1),
    good("inputs by column", {"inputs": {"age": [AGE], "visits": [VISITS]}}),
    good("inputs by row", {"inputs": [PLAIN]}),
    good("instances", {"instances": [PLAIN]}),
    good("no params", {"dataframe_split": SPLIT, "params": {}}),
    good("whole numbers for doubles", records({"age": 3, "visits": 7}), 7.0),
    good("a column that the model does not know", records({"height": 1.8})),
    good("a number that is none", records({"age": None}, {}), None, BASE),
    good("20,000 rows", {"dataframe_split": MANY}, *[BASE] * 20_000),
    good("blanks around", f"  {json.dumps(records({}))}\n"),
    good("charset", records({}), content_type=f"{JSON}; charset=utf-8"),
    good("charset in capitals", records({}), content_type=f"{JSON}; charset=UTF-8"),
    good("an infinite prediction", records({"age": 1e308}), None),
    # CSV.
    good("csv", "age,visits\n3.5,1\n4,1\n", BASE, BASE + 1, content_type=CSV),
    good("csv with a charset", "age,visits\n3.5,1\n", content_type=f"{CSV}; charset=utf-8"),
    good("csv of Windows", "age,visits\r\n3.5,1\r\n", content_type=CSV),
    good("csv with the columns in another order", "visits,age\n1,3.5\n", content_type=CSV),
    good("csv with a column that the model does not know", "age,visits,height\n3.5,1,1.8\n", content_type=CSV),
    good("csv with a number that is none", "age,visits\n,1\n3.5,1\n", None, BASE, content_type=CSV),
    good("csv of all types", "age,visits,count,at,code,flag\n3.5,1,3,2026-03-01T12:00:00Z,007,True\n", BASE + 1018,
         content_type=CSV, typed=True),
    # Types.
    typed("count", 3, 3),
    typed("count", 3.0, 3),
    typed("count", 2**53 + 1, 2**53 + 1),
    typed("small", -4, -4),
    typed("flag", True, 1000),
    typed("flag", False, 0),
    typed("at", "2026-03-01T12:00:00", 12),
    typed("at", "2026-03-01T12:00:00Z", 12),
    typed("at", "2026-03-01T14:00:00+02:00", 12),
    typed("at", "2026-03-01", 0),
    typed("code", "007", 3),
    typed("code", "Zürich 東京", 9),
    typed("code", "", 0),
    refused("count", 1.5),
    refused("count", 2**63),
    refused("count", "three"),
    refused("small", 2**31),
    refused("flag", "false"),
    refused("flag", 2),
    refused("at", "noon"),
    bad("csv with a fraction for a long", "age,visits,count\n3.5,1,1.5\n", "count", content_type=CSV, typed=True),
    # Columns.
    *(bad(f"a missing column in {name}", body, "visits") for name, body in {
        "split": {"dataframe_split": {"columns": ["age"], "data": [[AGE]]}},
        "records": {"dataframe_records": [{"age": AGE}]},
        "inputs": {"inputs": {"age": [AGE]}},
        "instances": {"instances": [{"age": AGE}]},
    }.items()),
    bad("a missing column in csv", "age\n3.5\n", "visits", content_type=CSV),
    bad("all columns in capitals", {"dataframe_records": [{"AGE": AGE, "VISITS": VISITS}]}, "age"),
    bad("a text for a number", records({"age": "old"}), "age"),
    bad("a list for a number", records({"age": [1, 2]}), "age"),
    bad("an object for a number", records({"age": {"years": 3}}), "age"),
    bad("a text for a number in csv", "age,visits\nold,1\n", "age", content_type=CSV),
    bad("more fields than columns in csv", "age,visits\n3.5,1,7\n", "columns", content_type=CSV),
    # Bodies that are none.
    bad("an empty body", b"", "empty"),
    bad("blanks only", b" \n ", "empty"),
    bad("an empty csv", b"\n", "empty", content_type=CSV),
    bad("half an object", "{", "JSON"),
    bad("no JSON", "age=3.5", "JSON"),
    bad("brackets without end", "[" * 100_000, "JSON"),
    bad("a list", [[AGE, VISITS]], "JSON object"),
    bad("a number", 5, "JSON"),
    bad("a text", '"age"', "JSON"),
    bad("null", "null", "JSON"),
    bad("an empty object", {}),
    bad("no UTF-8", b"\xff\xfe{", "UTF-8"),
    bad("compressed", gzip.compress(json.dumps(records({})).encode()), headers={"Content-Encoding": "gzip"}),
    # Formats that are none.
    bad("a format that is not known", {"rows": [PLAIN]}, "formats"),
    bad("two formats", {"inputs": [PLAIN], "instances": [PLAIN]}, "inputs, instances"),
    bad("a field that nothing reads", {"inputs": [PLAIN], "parms": {}}, "parms"),
    bad("params that are none", {"inputs": [PLAIN], "params": 3}, "params"),
    bad("split that is a number", {"dataframe_split": 5}, "dataframe_split"),
    bad("split with too few values", {"dataframe_split": {**SPLIT, "data": [[1]]}}, "dataframe_split"),
    bad("split without columns", {"dataframe_split": {"data": [[AGE, VISITS]]}}),
    bad("split for records", {"dataframe_records": SPLIT}, "dataframe_records"),
    bad("records of numbers", {"dataframe_records": [1, 2]}),
    bad("inputs that are a number", {"inputs": 5}),
    bad("inputs of different lengths", {"inputs": {"age": [1.0, 2.0], "visits": [1.0]}}),
    # How it is sent.
    bad("no content type", records({}), "Content-Type is missing", content_type=None, code=415),
    bad("plain text", records({}), "Content-Type is 'text/plain'", content_type="text/plain", code=415),
    bad("a form", "age=3.5", "Content-Type", content_type="application/x-www-form-urlencoded", code=415),
    bad("another charset", records({}), "utf-8", content_type=f"{JSON}; charset=latin-1", code=415),
    *(bad(f"method {method}", records({}), method=method, code=405) for method in ("GET", "PUT", "DELETE", "PATCH")),
    bad("another path", records({}), path="/nowhere", code=404),
    # The model's own doing.
    fault("the model's code fails", -2),
    fault("a key that the model's code lacks", -6),
    fault("a type that the model's code does not take", -7),
    bad("rows that the model refuses", records({"age": -3}), "age can't be -3", age=True),
]  # fmt: skip


@dataclass(frozen=True)
class Answered:
    """An answer: the model's own status, and what was said."""

    status: int
    text: str

    @property
    def predictions(self) -> Any:
        try:
            # MLflow's server writes NaN and Infinity, which are no JSON.
            content = json.loads(self.text, parse_constant=lambda _: None)
            return content["predictions"]
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def is_json(self) -> bool:
        def refuse(constant):
            raise ValueError(constant)

        try:
            return isinstance(json.loads(self.text, parse_constant=refuse), dict)
        except ValueError:
            return False

    @property
    def is_traced(self) -> bool:
        return "Traceback" in self.text or "stack_trace" in self.text

    @property
    def is_sentence(self) -> bool:
        """Whether it is one sentence, as JSON."""
        if not self.is_json:
            return False
        said = [value for value in json.loads(self.text).values() if isinstance(value, str)]
        return len(said) == 1 and len(said[0].splitlines()) == 1 and len(said[0]) <= LONGEST_SENTENCE


def ask(session: requests.Session, url: str, row: Row) -> Answered | None:
    """What comes back; None where nothing does."""
    headers = dict(row.headers)
    if row.content_type:
        headers["Content-Type"] = row.content_type
    address = f"{url.rpartition('/')[0]}{row.path}" if row.path else url
    try:
        answer = session.request(row.method, address, data=row.sent, headers=headers, timeout=60)
    except requests.RequestException:
        return None
    # Azure ML answers with a status of its own, and says the model's beside it.
    own = answer.headers.get("ms-azureml-model-error-statuscode", "")
    return Answered(int(own) if own else answer.status_code, answer.text)


def worth(row: Row, answer: Answered | None) -> int:
    """How good an answer is, by the kind of its request: 0 for none, `BEST` for the right one."""
    if answer is None:
        return 0
    rule = {"good": _worth_of_predictions, "bad": _worth_of_a_refusal, "fault": _worth_of_a_failure}[row.kind]
    return rule(row, answer)


BEST = 5


def worst(connection: requests.Session, url: str, rows: list[Row]) -> tuple[int, str, Answered | None]:
    """What the worst answer to some rows is worth, to which, and the answer."""
    with connection:
        answers = [(row, ask(connection, url, row)) for row in rows]
    return min(((worth(row, answer), row.name, answer) for row, answer in answers), key=lambda each: each[0])


def _worth_of_predictions(row, answer):
    if answer.status == 200:
        # A wrong number is worse than none.
        return (5 if answer.is_json else 4) if _same(answer.predictions, row.predictions) else 1
    return 3 if answer.status < 500 else 2


def _worth_of_a_refusal(row, answer):
    if answer.status < 400:
        return 1
    if answer.status >= 500:
        return 2
    return 3 if answer.is_traced else 5 if answer.is_sentence else 4


def _worth_of_a_failure(row, answer):
    if answer.status < 500:
        return 1
    # The model's own words may hold data of others.
    return 3 if answer.is_traced or "weights" in answer.text else 5 if answer.is_sentence else 4


def _same(mine, right):
    if not isinstance(mine, list) or len(mine) != len(right):
        return False
    return all(
        (one is None) == (other is None) and (one is None or math.isclose(one, other, rel_tol=1e-12))
        for one, other in zip(mine, right, strict=True)
    )
