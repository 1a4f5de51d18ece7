"""scikit-learn, xgboost and lightgbm on tables of mixed columns, texts and missing values.

As ``tabular.py``; an input is a table of numbers, a column, or a text.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import KernelPCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, QuantileRegressor, TweedieRegressor
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    MaxAbsScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, NuSVR, OneClassSVM

from onnx_conformance import Bounded, Choice, TensorSpec, register_model

OPSETS = {"": 18, "ai.onnx.ml": 3}
CITIES, COLOURS = ("Bern", "Oslo", "Rome"), ("blue", "green", "red")
TEXTS = ("a good day", "a bad day", "good and bad", "the day after", "nothing", "bad bad day")
NUMBERS = {"X": TensorSpec("X", ("batch", 4), domain=Bounded(0, 8))}
MIXED = {
    "age": TensorSpec("age", ("batch", 1), domain=Bounded(18, 90)),
    "income": TensorSpec("income", ("batch", 1), domain=Bounded(0, 1000)),
    "city": TensorSpec("city", ("batch", 1), "str", domain=Choice(CITIES)),
    "colour": TensorSpec("colour", ("batch", 1), "str", domain=Choice((*COLOURS, "other"))),
}
TEXT = {"text": TensorSpec("text", ("batch", 1), "str", domain=Choice(TEXTS))}


@dataclass(frozen=True)
class Kind:
    """What is fitted to which inputs, what a user calls of it, and how it is converted."""

    make: Any
    inputs: dict[str, TensorSpec] = field(default_factory=lambda: NUMBERS)
    calls: tuple[str, ...] = ("predict", "predict_proba")
    options: dict[str, Any] = field(default_factory=dict)
    target: str = "classes"


def iris_like(target):
    """Flowers' measures, and what is to be told from them."""
    features, classes = datasets.load_iris(return_X_y=True)
    sizes = features @ np.array([0.3, -0.2, 0.5, 0.1]) + 1
    known = {"classes": classes, "two": (classes > 0).astype(np.int64), "size": sizes, "none": None}
    known["both"] = np.stack([classes, classes > 0], axis=1).astype(np.int64)
    return features.astype(np.float32), known[target]


def people():
    """Ages, incomes, cities and colours in one table, and whether each of them bought."""
    rng = np.random.default_rng(0)
    age, income = rng.uniform(18, 90, 300), rng.uniform(0, 1000, 300)
    city, colour = rng.choice(CITIES, 300), rng.choice(COLOURS, 300)
    score = age / 30 + income / 400 + (city == "Oslo") * 2 - (colour == "red")
    table = _table([age.astype(np.float32), income.astype(np.float32), city, colour])
    return table, (score > np.median(score)).astype(np.int64)


def _table(columns):
    """Columns of numbers and texts side by side."""
    return np.stack([np.asarray(column, dtype=object).reshape(-1) for column in columns], axis=1)


def columns(encoder, head):
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    parts = [("numbers", numbers, [0, 1]), ("texts", encoder, [2, 3])]
    return make_pipeline(ColumnTransformer(parts), head)


def xgboost_missing():
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=15, max_depth=4, objective="binary:logistic")


def lightgbm_two():
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=12, verbose=-1)


def xgboost_forest():
    from xgboost import XGBRFRegressor

    return XGBRFRegressor(n_estimators=10, max_depth=4, random_state=0)


PLAIN = {"zipmap": False}
SPOKEN = {"locale": "C"}  # of what makes letters small; the converter's own is not everywhere
LABEL = ("predict",)
TRANSFORM = ("transform",)
KINDS = {
    "people_one_hot": Kind(
        lambda: columns(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
        MIXED, options=PLAIN,
    ),
    "people_ordinal": Kind(
        lambda: columns(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            RandomForestClassifier(10, max_depth=4, random_state=0),
        ),
        MIXED, options=PLAIN,
    ),
    "text_tfidf": Kind(
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), TEXT, options=PLAIN
    ),
    "text_counts_bayes": Kind(
        lambda: make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB()),
        TEXT, options=PLAIN,
    ),
    "calibrated": Kind(
        lambda: CalibratedClassifierCV(SVC(kernel="poly", degree=2), cv=3, ensemble=False),
        options=PLAIN,
    ),
    "calibrated_isotonic": Kind(
        lambda: CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=2),
        options=PLAIN,
    ),
    "gaussian_process_classes": Kind(
        lambda: GaussianProcessClassifier(1.0 * RBF(2.0), optimizer=None),
        target="two", options=PLAIN,
    ),
    "gaussian_process_kernels": Kind(
        lambda: GaussianProcessRegressor(
            RBF(3.0) + DotProduct() + WhiteKernel(0.1), optimizer=None, normalize_y=True
        ),
        calls=LABEL, target="size",
    ),
    "neighbours_weighted": Kind(
        lambda: KNeighborsClassifier(5, weights="distance"), options=PLAIN
    ),
    "neighbours_by_radius": Kind(
        lambda: RadiusNeighborsRegressor(9.0), calls=LABEL, target="size"
    ),
    "complement_bayes": Kind(ComplementNB, options=PLAIN),
    "many_labels": Kind(
        lambda: MultiOutputClassifier(RandomForestClassifier(5, max_depth=3, random_state=0)),
        calls=LABEL, target="both", options=PLAIN,
    ),
    "one_class": Kind(
        lambda: OneClassSVM(nu=0.2, gamma=0.3),
        calls=("predict", "decision_function"), target="none",
    ),
    "nu_svr": Kind(lambda: NuSVR(kernel="sigmoid", gamma=0.01), calls=LABEL, target="size"),
    "quantile": Kind(
        lambda: QuantileRegressor(quantile=0.7, alpha=0.01), calls=LABEL, target="size"
    ),
    "tweedie": Kind(lambda: TweedieRegressor(power=1.5), calls=LABEL, target="size"),
    "union": Kind(
        lambda: make_union(PolynomialFeatures(2, interaction_only=True), MaxAbsScaler()),
        calls=TRANSFORM,
    ),
    "kernel_pca": Kind(lambda: KernelPCA(3, kernel="rbf", gamma=0.1), calls=TRANSFORM),
    "variance_threshold": Kind(lambda: VarianceThreshold(0.5), calls=TRANSFORM),
    "dictionaries": Kind(lambda: LogisticRegression(max_iter=500)),
    "dictionaries_of_names": Kind(
        lambda: columns(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
        MIXED, target="names",
    ),
    "xgboost_missing": Kind(xgboost_missing, target="two"),
    "xgboost_forest": Kind(xgboost_forest, calls=LABEL, target="size"),
    "lightgbm_two": Kind(lightgbm_two, target="two", options=PLAIN),
}  # fmt: skip


def fitted(name):
    """The estimator, and an example of what it takes."""
    kind = KINDS[name]
    estimator = kind.make()
    if kind.inputs is MIXED:
        table, bought = people()
        if kind.target == "names":
            bought = np.array(["left", "stayed"])[bought]
        return estimator.fit(table, bought), table
    if kind.inputs is TEXT:
        return estimator.fit(list(TEXTS), [1, 0, 2, 1, 2, 0]), np.array([TEXTS[:1]])
    features, target = iris_like(kind.target)
    if name.endswith("missing"):
        features[::7, 1] = np.nan
    return estimator.fit(features, target), features


def export(name, target):
    """Write the ONNX file of a model."""
    estimator, _ = fitted(name)
    kind = KINDS[name]
    if name.startswith(("xgboost", "lightgbm")):
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        convert = getattr(onnxmltools, f"convert_{name.split('_')[0]}")
        shape = [("X", FloatTensorType([None, 4]))]
        model = convert(estimator, initial_types=shape, target_opset=15, **kind.options)
    else:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType

        types = [
            (n, (StringTensorType if s.dtype == "str" else FloatTensorType)([None, s.shape[1]]))
            for n, s in kind.inputs.items()
        ]
        options = {id(estimator): kind.options} if kind.options else {}
        options |= {TfidfVectorizer: SPOKEN, CountVectorizer: SPOKEN}
        model = convert_sklearn(
            estimator, initial_types=types, options=options, target_opset=OPSETS
        )
    Path(target).write_bytes(model.SerializeToString())


def _called(kind, estimator, arrays):
    """What the estimator's methods say of a call's arrays."""
    if kind.inputs is MIXED:
        given = _table(arrays)
    elif kind.inputs is TEXT:
        given = arrays[0][:, 0]
    else:
        given = arrays[0]
    found = [getattr(estimator, call)(given) for call in kind.calls]
    if kind.target == "size":  # whose files give a column
        found = [each.reshape(len(each), -1) for each in found]
    return found[0] if len(found) == 1 else tuple(found)


def _registered(name, kind):
    @register_model(name, inputs=list(kind.inputs.values()))
    def build():
        estimator, _ = fitted(name)
        if len(kind.inputs) == 1:
            return lambda X: _called(kind, estimator, [X])
        return lambda age, income, city, colour: _called(
            kind, estimator, [age, income, city, colour]
        )


for _name, _kind in KINDS.items():
    _registered(_name, _kind)
