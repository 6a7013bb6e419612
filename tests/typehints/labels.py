"""What type checkers see of labels and serializers. Checked by mypy and pyright, never run."""

from pathlib import Path
from typing import Annotated

import pandas as pd
from typing_extensions import assert_type

from penstock import log_metadata
from penstock.serializers import Dataset, Metrics, Model, Report, Serializer


class Net:
    def forward(self) -> float:
        return 0.5


def save_net(net: Net, path: Path) -> None:
    path.write_text(str(net.forward()))


def load_net(path: Path) -> Net:
    return Net()


SavedNet = Annotated[Net, Serializer(save=save_net, load=load_net, extension=".net")]


def labelled(rows: Dataset[pd.DataFrame], net: Model[Net], scores: Metrics[dict[str, float]]) -> Report[Path]:
    assert_type(rows, pd.DataFrame)
    assert_type(net, Net)
    assert_type(scores, dict[str, float])
    return Path("report")


def serialized(net: SavedNet, maybe: Model[SavedNet] | None) -> SavedNet:
    assert_type(net, Net)
    assert_type(maybe, Net | None)
    assert_type(labelled(pd.DataFrame(), net, {"accuracy": 1.0}), Path)
    return net


# A serializer of another type than what it is about is a mistake that the checkers find.
Serializer(save=save_net, load=str, extension=".net")  # type: ignore[misc]  # pyright: ignore[reportArgumentType]

# So is metadata that is not plain.
log_metadata(output="model", rows=3, shape=(2, 3), tags=["a", None], nested={"a": {"b": [True, 0.5]}})
log_metadata(file=Path("rows.csv"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
