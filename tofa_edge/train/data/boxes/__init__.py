"""Boxes around things, drawn for detectors: COCO, YOLO and Pascal VOC."""
