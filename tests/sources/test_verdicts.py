from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from sources.verdicts import OtherError, headers_of


def test_names_that_are_not_utf8_are_told_for_each_record_however_many_were_read(embedded, write_with_header) -> None:
    topic = uuid4().hex
    embedded.create_topic(topic, 1)
    write_with_header(topic, b"name", 100)
    write_with_header(topic, b"\xff\xfe", 100)
    consumer = Consumer({"bootstrap.servers": embedded.address, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])

    seen = []
    while len(seen) < 200:
        for message in consumer.consume(200, 1):
            try:
                seen.append(headers_of(message))
            except OtherError as error:
                seen.append(str(error))
    consumer.close()

    assert seen == [{"name": b"value"}] * 100 + ["headers: expected names in UTF-8, got others"] * 100
