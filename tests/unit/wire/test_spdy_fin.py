"""The end of a stream, and windows that are opened after it."""

from __future__ import annotations

from podyard.wire import spdy


def test_a_window_that_is_opened_after_the_end_does_not_end_the_stream_again() -> None:
    client, server = spdy.Connection("client"), spdy.Connection("server")
    client.receive_data(server.data_to_send())
    stream_id = client.open_stream({"streamtype": "stdin"})
    (opened,) = server.receive_data(client.data_to_send())
    assert isinstance(opened, spdy.StreamOpened)
    server.reply(stream_id)
    client.send_data(stream_id, bytes(200_000))
    assert server.receive_data(client.data_to_send())
    server.acknowledge(stream_id, 200_000)
    window = server.data_to_send()
    client.send_data(stream_id, b"last", fin=True)
    sent = client.data_to_send()
    client.receive_data(window)
    sent += client.data_to_send()
    assert server.receive_data(sent) == [spdy.DataReceived(stream_id, b"last", True)]
