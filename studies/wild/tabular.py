"""scikit-learn, xgboost and lightgbm as people deploy them: plain callables beside exported files.

``export`` writes the file of a model as its converter's documentation says.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from onnx_conformance import Bounded, TensorSpec, register_model

OPSETS = {"": 18, "ai.onnx.ml": 3}
IRIS, DIABETES = "iris", "diabetes"


def data(name):
    """Features in float32, and what is to be told from them."""
    load = {IRIS: datasets.load_iris, DIABETES: datasets.load_diabetes}[name]
    features, target = load(return_X_y=True)
    return features.astype(np.float32), target


def xgboost_classifier():
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=12, max_depth=3)


def xgboost_regressor():
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=20, max_depth=3)


def lightgbm_classifier():
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=12, verbose=-1)


def lightgbm_regressor():
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_estimators=20, verbose=-1)


def voting():
    parts = [
        ("a", LogisticRegression(max_iter=500)),
        ("b", DecisionTreeClassifier(max_depth=3, random_state=0)),
    ]
    return VotingClassifier(parts, voting="soft", flatten_transform=False)


def stacking():
    parts = [("a", GaussianNB()), ("b", DecisionTreeClassifier(max_depth=3, random_state=0))]
    return StackingClassifier(parts, LogisticRegression())


def columns():
    """Two columns scaled, two cut into categories, as in a table of mixed kinds."""
    bins = KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    parts = [("scaled", StandardScaler(), [0, 1]), ("bins", bins, [2, 3])]
    return make_pipeline(ColumnTransformer(parts), LogisticRegression())


# name -> (data set, a function that makes the estimator)
CLASSIFIERS = {
    "logreg_pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": lambda: RandomForestClassifier(20, random_state=0),
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "extra_trees": lambda: ExtraTreesClassifier(10, random_state=0),
    "gradient_boosting": lambda: GradientBoostingClassifier(n_estimators=20, random_state=0),
    "ada_boost": lambda: AdaBoostClassifier(n_estimators=8, random_state=0),
    "bagging": lambda: BaggingClassifier(n_estimators=5, random_state=0),
    "k_neighbours": lambda: KNeighborsClassifier(3),
    "svc": lambda: SVC(probability=True, random_state=0),
    "linear_svc": lambda: LinearSVC(),
    "naive_bayes": GaussianNB,
    "bernoulli_bayes": lambda: make_pipeline(Binarizer(threshold=2.0), BernoulliNB()),
    "perceptron": lambda: make_pipeline(
        MinMaxScaler(), MLPClassifier(hidden_layer_sizes=(16,), max_iter=300, random_state=0)
    ),
    "lda": LinearDiscriminantAnalysis,
    "qda": QuadraticDiscriminantAnalysis,
    "sgd": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "voting": voting,
    "stacking": stacking,
    "one_vs_rest": lambda: OneVsRestClassifier(LogisticRegression()),
    "selected": lambda: make_pipeline(SelectKBest(k=2), LogisticRegression()),
    "columns": columns,
    "xgboost": xgboost_classifier,
    "lightgbm": lightgbm_classifier,
}
REGRESSORS = {
    "linear": LinearRegression,
    "ridge_polynomial": lambda: make_pipeline(PolynomialFeatures(2), Ridge()),
    "elastic_net": lambda: ElasticNet(0.1),
    "bayesian_ridge": BayesianRidge,
    "huber": lambda: HuberRegressor(max_iter=1000),
    "poisson": PoissonRegressor,
    "forest_regressor": lambda: RandomForestRegressor(20, random_state=0),
    "boosting_regressor": lambda: GradientBoostingRegressor(n_estimators=30, random_state=0),
    "neighbours_regressor": lambda: KNeighborsRegressor(3),
    "svr": SVR,
    "perceptron_regressor": lambda: make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=500, random_state=0)
    ),
    # a scale of its own: the fitted one is so short that it answers 0 to all but its own data
    "gaussian_process": lambda: GaussianProcessRegressor(RBF(0.2), alpha=1.0, optimizer=None),
    "multi_output": lambda: MultiOutputRegressor(Ridge()),
    "xgboost_regressor": xgboost_regressor,
    "lightgbm_regressor": lightgbm_regressor,
}
TRANSFORMERS = {
    "pca": lambda: make_pipeline(StandardScaler(), PCA(2)),
    "truncated_svd": lambda: TruncatedSVD(2, random_state=0),
    "normalizer": Normalizer,
    "binarizer": lambda: Binarizer(threshold=2.0),
    "bins": lambda: KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    "robust_scaler": RobustScaler,
    "power_transformer": PowerTransformer,
    "quantile_transformer": lambda: QuantileTransformer(n_quantiles=20),
    "imputer": SimpleImputer,
    "neighbours_imputer": KNNImputer,
}
OTHERS = {  # with what a user calls of them
    "k_means": (lambda: KMeans(3, random_state=0, n_init=3), ("predict", "transform")),
    "gaussian_mixture": (lambda: GaussianMixture(2, random_state=0), ("predict", "predict_proba")),
    "isolation_forest": (
        lambda: IsolationForest(n_estimators=20, random_state=0),
        ("predict", "decision_function"),
    ),
}


def fitted(name):
    """The estimator and the data that it was fitted to."""
    features, target = data(DIABETES if name in REGRESSORS else IRIS)
    known = CLASSIFIERS | REGRESSORS | TRANSFORMERS | {k: v[0] for k, v in OTHERS.items()}
    estimator = known[name]()
    if name == "multi_output":
        target = np.stack([target, target[::-1]], axis=1)
    if name in OTHERS or name in TRANSFORMERS:
        return estimator.fit(features), features
    return estimator.fit(features, target), features


def export(name, target):
    """Write the ONNX file of a model."""
    estimator, features = fitted(name)
    if name.startswith(("xgboost", "lightgbm")):
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        convert = getattr(onnxmltools, f"convert_{name.split('_')[0]}")
        shape = [("X", FloatTensorType([None, features.shape[1]]))]
        more = {"zipmap": False} if name == "lightgbm" else {}
        model = convert(estimator, initial_types=shape, target_opset=15, **more)
    else:
        from skl2onnx import to_onnx

        options = {id(estimator): {"zipmap": False}} if name in CLASSIFIERS else None
        if name == "linear_svc":
            options = None
        model = to_onnx(estimator, features[:1], options=options, target_opset=OPSETS)
    Path(target).write_bytes(model.SerializeToString())


def _registered(name, calls):
    features, _ = data(DIABETES if name in REGRESSORS else IRIS)
    domain = Bounded(float(features.min()), float(features.max()))
    spec = TensorSpec("X", ("batch", features.shape[1]), domain=domain)

    @register_model(name, inputs=[spec])
    def build():
        estimator, _ = fitted(name)
        methods = [getattr(estimator, call) for call in calls if hasattr(estimator, call)]
        if name in REGRESSORS:  # whose files give a column
            return lambda X: methods[0](X).reshape(len(X), -1)
        return lambda X: tuple(method(X) for method in methods[:2])


for _name in CLASSIFIERS:
    _registered(_name, ("predict", "predict_proba", "decision_function"))
for _name in REGRESSORS:
    _registered(_name, ("predict",))
for _name in TRANSFORMERS:
    _registered(_name, ("transform",))
for _name, (_, _calls) in OTHERS.items():
    _registered(_name, _calls)
