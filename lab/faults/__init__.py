"""Peers that go wrong on purpose: each has one named character and does one thing badly, over the real protocols.

A program (`python -m lab.faults`) that the lab starts on a host of its own. For proving that agents cope;
it must not be imported by anything that runs on a node in service.
"""
