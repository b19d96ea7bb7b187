"""rosbag2 in and out without ROS: MCAP and sqlite3 are read, MCAP is written. The only importer of rosbags."""

from alpamayo_ros.bags.messages import deserialize, message, serialize, type_hash
from alpamayo_ros.bags.reading import STORAGE_SUFFIXES, Record, TopicInfo, bag_span, bag_topics, read_bag
from alpamayo_ros.bags.recovery import Recovered, recover
from alpamayo_ros.bags.writing import BagWriter, Definition, Offer, define

__all__ = [
    "STORAGE_SUFFIXES",
    "BagWriter",
    "Definition",
    "Offer",
    "Record",
    "Recovered",
    "TopicInfo",
    "bag_span",
    "bag_topics",
    "define",
    "deserialize",
    "message",
    "read_bag",
    "recover",
    "serialize",
    "type_hash",
]
