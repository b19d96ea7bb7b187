"""A CycloneDX list of components without what is of the machine that made it: hashes stay, where an index lies does not."""

import json
import sys
from pathlib import Path

source, target = map(Path, sys.argv[1:])
bom = json.loads(source.read_text())
for component in bom["components"]:
    component["hashes"] = [digest for reference in component.pop("externalReferences") for digest in reference["hashes"]]
    component.pop("description")
for tool in bom["metadata"]["tools"]["components"]:
    tool.pop("externalReferences", None)
target.write_text(json.dumps(bom, indent=1, sort_keys=True) + "\n")
