"""TSB-AD's detectors and metric, in an environment of their own: `vus_peers.py IN OUT`.

IN is an .npz of series: `one/<name>` (n,), `many/<name>` (n, signals). Writes an .npz: of each `<name>/window`, the
period that TSB-AD finds and takes as the metric's window (of many signals in the first), and the scores of its
detectors over the whole series with the settings that TSB-AD found best, `<name>/<detector>`. `checked/<name>` (3, n)
holds label, score and window: `checked/<name>/vus_pr` is its own VUS-PR of them.
"""

import sys
import warnings
from unittest.mock import MagicMock

import numpy as np

# Deep detectors and a volatility model that is not used here ask for them on import.
sys.modules |= {name: MagicMock() for name in ("arch", "torch", "torch.nn", "torch.nn.functional")}
sys.modules |= {name: MagicMock() for name in ("torch.utils", "torch.utils.data")}
warnings.filterwarnings("ignore")

from TSB_AD.evaluation.basic_metrics import generate_curve  # noqa: E402
from TSB_AD.HP_list import Optimal_Multi_algo_HP_dict, Optimal_Uni_algo_HP_dict  # noqa: E402
from TSB_AD.model_wrapper import run_PCA, run_POLY, run_Sub_PCA  # noqa: E402
from TSB_AD.utils.slidingWindows import find_length_rank  # noqa: E402


def main() -> None:
    given, out = np.load(sys.argv[1]), {}
    for path in given.files:
        kind, _, name = path.partition("/")
        values = given[path].astype(np.float64)
        if kind == "checked":
            label, score, window = values
            out[f"{path}/vus_pr"] = generate_curve(label.astype(int), score, int(window[0]), "opt", 250)[-1]
            continue
        values = values.reshape(len(values), -1)
        out[f"{name}/window"] = find_length_rank(values[:, :1], rank=1)
        if kind == "one":
            out[f"{name}/Sub-PCA"] = run_Sub_PCA(values, **Optimal_Uni_algo_HP_dict["Sub_PCA"])
            out[f"{name}/POLY"] = run_POLY(values, **Optimal_Uni_algo_HP_dict["POLY"])
        else:
            # Windows of 100 points, TSB-AD's default, take gigabytes and score less here than single points.
            best = Optimal_Multi_algo_HP_dict["PCA"]["n_components"]
            out[f"{name}/PCA"] = run_PCA(values, slidingWindow=1, n_components=best)
            out[f"{name}/PCA of all components"] = run_PCA(values, slidingWindow=1)
    np.savez(sys.argv[2], **out)


if __name__ == "__main__":
    main()
