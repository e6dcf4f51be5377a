"""A service in another language: answers each message with a command, in the trace that the message brings.

It uses the OpenTelemetry API and SDK as its authors publish them, and nothing of im-bridge.
"""

import asyncio
import json
import sys

import nats
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": "service"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{sys.argv[2]}/v1/traces")))
tracer = provider.get_tracer("service")


def ids(span):
    context = span.get_span_context()
    return {"trace": f"{context.trace_id:032x}", "id": f"{context.span_id:016x}"}


async def main(url):
    connection = await nats.connect(url)
    stream = connection.jetstream()
    events = await stream.subscribe("im.v1.evt.sim.demo.message.created.*", ordered_consumer=True)
    print(json.dumps({"ready": True}), flush=True)
    while True:
        message = await events.next_msg(timeout=120)
        body = json.loads(message.data)
        if body["origin"] != "remote":
            continue
        context = propagate.extract(message.headers)
        parent = trace.get_current_span(context)
        with tracer.start_as_current_span("handle", context, kind=trace.SpanKind.CONSUMER) as handle:
            with tracer.start_as_current_span("reply", kind=trace.SpanKind.PRODUCER) as reply:
                headers = {}
                propagate.inject(headers)
                text = {"type": "text", "data": {"text": "answer"}}
                command = {
                    "idempotency_key": f"answer-{body['id']}",
                    "params": {"to": {"channel_id": body["subject"]}, "message": {"segments": [text]}},
                }
                data = json.dumps(command).encode()
                await stream.publish("im.v1.cmd.sim.demo.message.send", data, headers=headers)
                told = {"parent": ids(parent), "handle": ids(handle), "reply": ids(reply)}
                print(json.dumps(told), flush=True)


asyncio.run(main(sys.argv[1]))
