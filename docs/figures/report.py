"""Show a run's report as a PNG: its numbers and diagnosis beside its curves and confusion matrix.

    .venv/bin/python docs/figures/report.py RUN docs/figures/report.png

RUN has been evaluated. Needs Chromium. The README shows the run of the quick start:

    .venv/bin/python docs/make_outputs.py --folder /tmp/outputs quickstart.md
    .venv/bin/python docs/figures/report.py /tmp/outputs/quickstart.md/demo/run docs/figures/report.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ARRANGE = """<style>
  body { max-width: none; padding: 24px; display: grid; grid-template-columns: 690px 690px; gap: 48px; }
  #data, #inside, #details, details { display: none; }
</style><script>
  const [left, right] = [0, 1].map(() => document.createElement("div"));
  for (const part of [...document.body.children])
    (["training", "evaluation"].includes(part.id) ? right : left).append(part);
  document.body.append(left, right);
</script>"""
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --hide-scrollbars"


def main(run, out):
    """Write the picture."""
    page = (run / "report.html").read_text(encoding="utf-8").replace("</body>", f"{ARRANGE}</body>")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "report.html"
        path.write_text(page, encoding="utf-8")
        window = ["--window-size=1500,1185", f"--user-data-dir={name}/profile", f"--screenshot={out.resolve()}"]
        subprocess.run(["chromium", *FLAGS.split(), *window, path.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
