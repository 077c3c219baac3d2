"""What the node does so that it does not run full: it clears up, and ends Pods where that is not enough.

settings    when;  thresholds: how much has to be left, as a kubelet's flags write it
signals     what is left;  state: since when that is too little, and the node's conditions
ranking     which Pod goes first, and what it is told;  measure: what Pods use
eviction    one look after the other
images      unused images;  logs: those that grow
keeper      all of it together, with dead containers and files of Pods that are gone
"""

from podyard.node.housekeeping.keeper import Housekeeper
from podyard.node.housekeeping.settings import Settings

__all__ = ["Housekeeper", "Settings"]
