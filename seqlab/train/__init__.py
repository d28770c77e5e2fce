"""Training: one plain loop for every recipe, with checkpoints that resume to the same bits.

`python -m seqlab.train RECIPE --out DIR` writes the files that docs/run-folder.md describes. The modules:

* `config`      typed settings and their `key=value` overrides (imports no torch)
* `recipe`      what a recipe must provide
* `loop`        the training loop
* `checkpoint`  one safetensors file per checkpoint, verified when read
* `records`     metrics.jsonl and TensorBoard
* `progress`    progress.json and the line on the terminal
* `report`      report.json
* `signals`     SIGINT and SIGTERM, held back until a step is whole
"""

__all__: list[str] = []
