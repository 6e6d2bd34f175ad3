"""Measurements of a component of the reference implementation. The numbers are made up, the exchanges are real."""

import time
from datetime import datetime

import mplane.model
import mplane.scheduler

BEFORE_S = 0.5
"""A component of the RI loses the result of a service that ends at once: its job is not yet known."""


class Service(mplane.scheduler.Service):
    """`values(specification, must_end)` gives the rows."""

    def __init__(self, label, when, more, results, rows, address):
        capability = mplane.model.Capability(label=label, when=when)
        capability.add_parameter("source.ip4", address)
        capability.add_parameter("destination.ip4", "*")
        for name, constraint in more:
            capability.add_parameter(name, constraint)
        for name in results:
            capability.add_result_column(name)
        super().__init__(capability)
        self._names, self._rows = results, rows

    def run(self, specification, check_interrupt):
        time.sleep(BEFORE_S)
        begin = datetime.utcnow()
        result = mplane.model.Result(specification=specification)
        for number, row in enumerate(self._rows(specification, check_interrupt)):
            for name, value in zip(self._names, row):
                result.set_result_value(name, value, number)
        result.set_when(mplane.model.When(a=begin, b=datetime.utcnow()), force=True)
        return result


def samples(specification, must_end):
    """One row for each period, less after an interrupt."""
    when = specification.when()
    period = when.period().total_seconds()
    duration = when.duration()
    count = int(duration.total_seconds() / period) if duration else 100
    for number in range(count):
        yield datetime.utcnow(), 20000 + number
        if must_end():
            return
        time.sleep(period)


def average(specification, must_end):
    values = [value for _, value in samples(specification, must_end)]
    yield min(values), sum(values) // len(values), max(values), len(values)


def echo(specification, _):
    """What came to the component as a parameter."""
    yield specification.get_parameter_value("source.port"), specification.get_parameter_value("connectivity.ip")


def failure(*_):
    raise RuntimeError("simulated failure")


def services(address):
    delays = ["delay.twoway.icmp.us.min", "delay.twoway.icmp.us.mean", "delay.twoway.icmp.us.max",
              "delay.twoway.icmp.count"]
    parameters = [("source.port", "0 ... 65535"), ("connectivity.ip", "*")]
    return [
        Service("sim-average-ip4", "now ... future / 1s", [], delays, average, address),
        Service("sim-detail-ip4", "now ... future / 1s", [], ["time", "delay.twoway.icmp.us"], samples, address),
        Service("sim-echo-ip4", "now ... future", parameters, ["destination.port", "connectivity.as"], echo, address),
        Service("sim-fail-ip4", "now ... future", [], ["delay.twoway.icmp.us"], failure, address),
    ]
