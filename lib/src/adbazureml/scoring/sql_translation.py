"""scikit-learn models as Spark SQL: scalers, encoders, imputers and linear models become column expressions.

What a step does with a value is read from scikit-learn's documentation of its fitted attributes; a step that is not in
the tables below, or has an option that they do not know, is not translated. A row that the model refuses is refused by
the expression too: missing values and infinities that reach the linear model, and categories that it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyspark.sql import Column

# Beyond it, building the expression and compiling it cost more than Python's workers do.
_MOST_TERMS = 2000
_WITHOUT_NULL = {"long", "integer", "boolean"}
_KINDS = {*_WITHOUT_NULL, "double", "string"}


class NotTranslatableError(Exception):
    """Why a model stays in Python, as the end of a sentence."""


@dataclass(frozen=True)
class _Feature:
    """A column on its way through the steps: null where it is missing, or where a step refuses its value."""

    column: Column
    kind: str
    inputs: frozenset[str]

    def number(self) -> Column:
        """The value as a double."""
        if self.kind == "string":
            raise NotTranslatableError("text reaches a step of numbers")
        return self.column if self.kind == "double" else self.column.cast("double")

    def then(self, column: Column) -> _Feature:
        """What a step makes of it: a number."""
        return _Feature(column, "double", self.inputs)


@dataclass(frozen=True)
class SQLPredictions:
    """A model's answers as columns.

    Attributes
    ----------
    prediction : pyspark Column
        Null for a row that the model refuses.
    probabilities : list of pyspark Column
        One for each class; empty for regressors and classifiers without.
    refused : pyspark Column
        Why the model refuses the row; null where it does not.
    """

    prediction: Column
    probabilities: list[Column]
    refused: Column


@dataclass(frozen=True)
class SQLModel:
    """A scikit-learn estimator that has a translation.

    Attributes
    ----------
    estimator : scikit-learn estimator
        A linear model, or a pipeline that ends in one.
    kinds : mapping of str to str
        The inputs in the model's order, with the type of each as MLflow's signatures name it.
    """

    estimator: Any
    kinds: Mapping[str, str]

    @property
    def classes(self) -> list[Any]:
        """The classes, of Python's own types; empty for a regressor."""
        found: list[Any] = np.asarray(getattr(self.estimator, "classes_", [])).tolist()
        return found

    def predictions(self, inputs: Mapping[str, Column]) -> SQLPredictions:
        """The model's answers for columns that have the types of `kinds`.

        Raises
        ------
        NotTranslatableError
            The model has a step or an option that is in no table here.
        """
        names = list(self.kinds)
        _refuse_if(set(inputs) != set(names), "an optional input is absent")
        fitted_on = getattr(self.estimator, "feature_names_in_", None)
        if fitted_on is not None and list(fitted_on) != names:
            raise NotTranslatableError("it was fitted on other columns, or another order, than its signature names")
        features = [_input(name, self.kinds[name], inputs[name]) for name in names]
        steps = _steps(self.estimator)
        final = _transformed(steps[:-1], features, names)
        return _linear(steps[-1], final, dict(zip(names, features, strict=True)))


def _input(name: str, kind: str, column: Column) -> _Feature:
    from pyspark.sql import functions

    if kind not in _KINDS:
        raise NotTranslatableError(f"input {name} is {kind}, which scikit-learn does not reckon with as doubles")
    # Missing is one thing on this side: the model sees NaN for both.
    value = functions.when(~functions.isnan(column), column) if kind == "double" else column
    return _Feature(value, kind, frozenset([name]))


def _steps(estimator: Any) -> list[Any]:
    """A pipeline's steps in their order, those of pipelines within it too."""
    if _name(estimator) != "Pipeline":
        return [estimator]
    return [inner for _, step in estimator.steps for inner in _steps(step)]


def _name(step: Any) -> str:
    """The class of a step that is scikit-learn's own; a class derived from one may do anything."""
    kind = type(step)
    return kind.__name__ if kind.__module__.partition(".")[0] == "sklearn" else f"{kind.__module__}.{kind.__name__}"


def _transformed(steps: Sequence[Any], features: list[_Feature], names: Sequence[str] | None) -> list[_Feature]:
    for step in steps:
        features = _step(step, features, names)
        names = None
    return features


def _step(step: Any, features: list[_Feature], names: Sequence[str] | None) -> list[_Feature]:
    if isinstance(step, str):
        return features if step == "passthrough" else []
    name = _name(step)
    if name == "Pipeline":
        return _transformed(_steps(step), features, names)
    if name == "ColumnTransformer":
        return _column_transformer(step, features, names)
    if name not in _TRANSFORMERS:
        raise NotTranslatableError(f"{name} has no translation")
    return _TRANSFORMERS[name](step, features)


def _column_transformer(step: Any, features: list[_Feature], names: Sequence[str] | None) -> list[_Feature]:
    found: list[_Feature] = []
    for _, inner, columns in step.transformers_:
        at = [_position(column, names) for column in _as_list(columns)]
        if at:
            taken_names = [names[i] for i in at] if names is not None else None
            found += _step(inner, [features[i] for i in at], taken_names)
    return found


def _as_list(columns: Any) -> list[Any]:
    if isinstance(columns, (str, int, slice)):
        raise NotTranslatableError("a ColumnTransformer names its columns by other means than a list")
    found = list(columns)
    if any(isinstance(one, (bool, np.bool_)) for one in found):
        raise NotTranslatableError("a ColumnTransformer names its columns by a mask")
    return found


def _position(column: Any, names: Sequence[str] | None) -> int:
    if isinstance(column, str):
        if names is None or column not in names:
            raise NotTranslatableError(f"a ColumnTransformer names the column {column}, which an earlier step made")
        return list(names).index(column)
    return int(column)


def _refuse_if(unknown: bool, said: str) -> None:
    if unknown:
        raise NotTranslatableError(said)


def _function_transformer(step: Any, features: list[_Feature]) -> list[_Feature]:
    _refuse_if(step.func is not None, "FunctionTransformer calls a function of Python")
    return features


def _shifted(features: list[_Feature], shift: Any, scale: Any) -> list[_Feature]:
    """Each number less its shift, then over its scale; None: there is none."""
    from pyspark.sql import functions

    found = []
    for index, feature in enumerate(features):
        value = feature.number()
        if shift is not None:
            value = value - functions.lit(float(shift[index]))
        if scale is not None:
            value = value / functions.lit(float(scale[index]))
        found.append(feature.then(value))
    return found


def _standard_scaler(step: Any, features: list[_Feature]) -> list[_Feature]:
    return _shifted(features, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)


def _robust_scaler(step: Any, features: list[_Feature]) -> list[_Feature]:
    return _shifted(features, step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None)


def _max_abs_scaler(step: Any, features: list[_Feature]) -> list[_Feature]:
    _refuse_if(getattr(step, "clip", False), "MaxAbsScaler clips")
    return _shifted(features, None, step.scale_)


def _min_max_scaler(step: Any, features: list[_Feature]) -> list[_Feature]:
    from pyspark.sql import functions

    _refuse_if(step.clip, "MinMaxScaler clips")
    return [
        feature.then(feature.number() * functions.lit(float(scale)) + functions.lit(float(least)))
        for feature, scale, least in zip(features, step.scale_, step.min_, strict=True)
    ]


def _simple_imputer(step: Any, features: list[_Feature]) -> list[_Feature]:
    from pyspark.sql import functions

    _refuse_if(step.add_indicator, "SimpleImputer adds indicators")
    of_numbers = isinstance(step.missing_values, float) and math.isnan(step.missing_values)
    _refuse_if(
        not of_numbers and step.missing_values is not None, "SimpleImputer fills another value than a missing one"
    )
    found = []
    for feature, fill in zip(features, step.statistics_, strict=True):
        missing = fill is None or (isinstance(fill, float) and math.isnan(fill))
        _refuse_if(missing, "SimpleImputer leaves out a column without a value")
        _refuse_if(feature.kind == "boolean", "SimpleImputer takes no booleans")
        if feature.kind == "string":
            _refuse_if(not isinstance(fill, str), "SimpleImputer fills text with another type")
            # Among text Spark's null is None, which only an imputer of None fills.
            found.append(
                feature
                if of_numbers
                else _Feature(functions.coalesce(feature.column, functions.lit(fill)), "string", feature.inputs)
            )
        else:
            _refuse_if(not of_numbers, "SimpleImputer fills None among numbers")
            found.append(feature.then(functions.coalesce(feature.number(), functions.lit(float(fill)))))
    return found


def _is_category(feature: _Feature, category: Any) -> Column:
    """Whether a value is a category; None stands for null among text, NaN for a missing number."""
    from pyspark.sql import functions

    missing = category is None or (isinstance(category, (float, np.floating)) and math.isnan(category))
    if missing:
        _refuse_if(feature.kind == "string" and category is not None, "NaN is a category among text")
        return feature.column.isNull()
    value = category.item() if isinstance(category, np.generic) else category
    types = {"string": str, "boolean": bool}.get(feature.kind, (int, float))
    _refuse_if(not isinstance(value, types), "a category is of another type than its column")
    # scikit-learn compares whole numbers as such where the categories are: not all of 64 bits are doubles.
    column = feature.number() if isinstance(value, float) else feature.column
    return functions.coalesce(column == functions.lit(value), functions.lit(False))


def _categories(step: Any, features: list[_Feature]) -> list[list[Column]]:
    _refuse_if(
        getattr(step, "min_frequency", None) is not None or getattr(step, "max_categories", None) is not None,
        f"{_name(step)} joins infrequent categories",
    )
    return [
        [_is_category(feature, category) for category in categories]
        for feature, categories in zip(features, step.categories_, strict=True)
    ]


def _all(conditions: Sequence[Column]) -> Column:
    return reduce(lambda one, other: one & other, conditions)


def _any(conditions: Sequence[Column]) -> Column:
    return reduce(lambda one, other: one | other, conditions)


def _finite(column: Column) -> Column:
    from pyspark.sql import functions

    return functions.coalesce(functions.abs(column) < functions.lit(math.inf), functions.lit(False))


def _one_hot_encoder(step: Any, features: list[_Feature]) -> list[_Feature]:
    from pyspark.sql import functions

    _refuse_if(
        step.handle_unknown not in {"error", "ignore"}, f"OneHotEncoder takes unknown ones as {step.handle_unknown}"
    )
    dropped = step.drop_idx_ if step.drop_idx_ is not None else [None] * len(features)
    found: list[_Feature] = []
    for feature, known, drop in zip(features, _categories(step, features), dropped, strict=True):
        taken = _known(feature, known, any_other=step.handle_unknown == "ignore")
        for index, one in enumerate(known):
            if drop is None or index != drop:
                value = functions.when(one, functions.lit(1.0)).otherwise(functions.lit(0.0))
                found.append(feature.then(functions.when(taken, value)))
    return found


def _known(feature: _Feature, known: Sequence[Column], *, any_other: bool) -> Column:
    """Whether an encoder takes a value: no infinity, and a category that it knows unless it takes any other."""
    from pyspark.sql import functions

    if not any_other:
        return _any(known)
    if feature.kind != "double":
        return functions.lit(True)
    return functions.coalesce(functions.abs(feature.column) < functions.lit(math.inf), functions.lit(True))


def _ordinal_encoder(step: Any, features: list[_Feature]) -> list[_Feature]:
    from pyspark.sql import functions

    instead = step.unknown_value if step.handle_unknown == "use_encoded_value" else None
    found: list[_Feature] = []
    for feature, known, categories in zip(features, _categories(step, features), step.categories_, strict=True):
        missing = any(category is None or category != category for category in categories)  # noqa: PLR0124
        _refuse_if(missing, "OrdinalEncoder has a code for missing values")
        codes = functions.coalesce(
            *(functions.when(one, functions.lit(float(code))) for code, one in enumerate(known)),
            functions.lit(None if instead is None or math.isnan(instead) else float(instead)),
        )
        taken = _known(feature, known, any_other=instead is not None)
        found.append(feature.then(functions.when(taken, codes)))
    return found


_TRANSFORMERS: dict[str, Callable[[Any, list[_Feature]], list[_Feature]]] = {
    "FunctionTransformer": _function_transformer,
    "MaxAbsScaler": _max_abs_scaler,
    "MinMaxScaler": _min_max_scaler,
    "OneHotEncoder": _one_hot_encoder,
    "OrdinalEncoder": _ordinal_encoder,
    "RobustScaler": _robust_scaler,
    "SimpleImputer": _simple_imputer,
    "StandardScaler": _standard_scaler,
}
# Those whose `predict` is the sum of coefficients times features, and the intercept.
_REGRESSORS = {
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LinearRegression",
    "LinearSVR",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
}
# Those whose `predict` is the class of the largest such sum; with two classes, whether the one sum is above 0.
_CLASSIFIERS = {
    "LinearSVC",
    "LogisticRegression",
    "LogisticRegressionCV",
    "Perceptron",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "SGDClassifier",
}


def _linear(model: Any, features: list[_Feature], inputs: Mapping[str, _Feature]) -> SQLPredictions:
    from pyspark.sql import functions

    name = _name(model)
    if name not in _REGRESSORS | _CLASSIFIERS:
        raise NotTranslatableError(f"{name} has no translation")
    scores = _scores(model, features, several=name in _CLASSIFIERS)
    # A sum is finite only where all its features are; one of finite features may still be too large for a double.
    taken = _finite(scores[0]) | _all([_finite(feature.number()) for feature in features])
    # MLflow refuses a null in columns that can't hold one in pandas, also where the model does not use them.
    whole = [given.column.isNotNull() for given in inputs.values() if given.kind in _WITHOUT_NULL]
    taken = _all([taken, *whole])
    refused = functions.when(~taken, _reason(features, inputs))
    if name in _REGRESSORS:
        return SQLPredictions(functions.when(taken, scores[0]), [], refused)
    chosen = functions.when(taken, _class_of_largest(np.asarray(model.classes_).tolist(), scores))
    return SQLPredictions(chosen, _probabilities(model, scores), refused)


def _scores(model: Any, features: list[_Feature], *, several: bool) -> list[Column]:
    from pyspark.sql import functions

    coefficients = np.asarray(model.coef_, dtype=float)
    _refuse_if(coefficients.ndim == 2 and not several, "it predicts several numbers")
    rows = np.atleast_2d(coefficients)
    _refuse_if(rows.size > _MOST_TERMS, f"{rows.size:,} coefficients make too long an expression")
    _refuse_if(rows.shape[1] != len(features) or not features, "its coefficients do not fit its steps")
    intercepts = np.broadcast_to(np.ravel(np.asarray(model.intercept_, dtype=float)), (len(rows),))
    numbers = [feature.number() for feature in features]
    return [
        _sum([number * functions.lit(float(one)) for number, one in zip(numbers, row, strict=True)])
        + functions.lit(float(intercept))
        for row, intercept in zip(rows, intercepts, strict=True)
    ]


def _sum(terms: Sequence[Column]) -> Column:
    """The sum by halves, so that the expression stays flat and the rounding small."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    return _sum(terms[:middle]) + _sum(terms[middle:])


def _class_of_largest(classes: Sequence[Any], scores: Sequence[Column]) -> Column:
    from pyspark.sql import functions

    if len(scores) == 1:
        above = (scores[0] > functions.lit(0.0)) & ~functions.isnan(scores[0])
        return functions.when(above, functions.lit(classes[1])).otherwise(functions.lit(classes[0]))
    largest = functions.greatest(*scores)
    return functions.coalesce(
        *(functions.when(score == largest, functions.lit(one)) for one, score in zip(classes, scores, strict=True))
    )


def _probabilities(model: Any, scores: list[Column]) -> list[Column]:
    """Those of `predict_proba`; none where it has none, or is not in a form that is known here."""
    from pyspark.sql import functions

    logistic = _name(model) in {"LogisticRegression", "LogisticRegressionCV"}
    if not logistic and not (_name(model) == "SGDClassifier" and model.loss == "log_loss"):
        return []
    one = functions.lit(1.0)
    if len(scores) == 1:
        if getattr(model, "multi_class", "deprecated") == "multinomial":
            return []
        positive = one / (one + functions.exp(-scores[0]))
        return [one - positive, positive]
    if logistic and model.solver != "liblinear" and getattr(model, "multi_class", "deprecated") != "ovr":
        largest = functions.greatest(*scores)
        shares = [functions.exp(score - largest) for score in scores]
    else:
        shares = [one / (one + functions.exp(-score)) for score in scores]
    whole = _sum(shares)
    return [share / whole for share in shares]


def _reason(features: Sequence[_Feature], inputs: Mapping[str, _Feature]) -> Column:
    """Which inputs are at fault in a row that is refused."""
    from pyspark.sql import functions

    said = []
    for name, given in inputs.items():
        faults = [~_finite(feature.number()) for feature in features if name in feature.inputs]
        faults += [given.column.isNull()] if given.kind in _WITHOUT_NULL else []
        if not faults:
            continue
        why = functions.when(given.column.isNull(), functions.lit(f"{name} is missing"))
        if given.kind == "double":
            why = why.when(functions.abs(given.column) == functions.lit(math.inf), functions.lit(f"{name} is infinite"))
        why = why.otherwise(functions.lit(f"{name} has a value that the model does not know"))
        said.append(functions.when(_any(faults), why))
    return functions.concat(functions.lit("the model takes no such row: "), functions.concat_ws("; ", *said))
