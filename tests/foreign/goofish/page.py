"""A client of the provider written from the protocol page alone, with nothing but Python's own library: its WebSocket, its
MessagePack and its signatures share no code with any other. It behaves as bots do: cookies and origin in the handshake, no
getState, ackDiff with the time of now, acknowledgements with five headers for every frame.

    python3 page.py <http> <ws>
"""

import base64
import hashlib
import http.client
import json
import os
import socket
import struct
import sys
import time
from urllib.parse import urlencode, urlsplit

HTTP, WS = sys.argv[1:3]
APP_KEY = "444e9908a51d1cb236a27862abc769c9"
CID = "30000000001@goofish"
WITHIN_S = 20


def check(is_so, what):
    if not is_so:
        raise SystemExit(f"not so: {what}")


def unpack(data):
    """The first MessagePack value of these bytes."""
    at = 0

    def take(count):
        nonlocal at
        check(at + count <= len(data), "MessagePack ends early")
        at += count
        return data[at - count : at]

    def number(form):
        return struct.unpack(form, take(struct.calcsize(form)))[0]

    def value():
        head = number(">B")
        if head <= 0x7F:
            return head
        if head <= 0x8F:
            return pairs(head & 0x0F)
        if head <= 0x9F:
            return [value() for _ in range(head & 0x0F)]
        if head <= 0xBF:
            return take(head & 0x1F).decode()
        if head == 0xCF:
            return number(">Q")
        if head == 0xDA:
            length = number(">H")
            check(length >= 32, "a short text in a long form")
            return take(length).decode()
        if head == 0xDB:
            return take(number(">I")).decode()
        if head == 0xDE:
            count = number(">H")
            check(count >= 16, "a small map in a large form")
            return pairs(count)
        raise SystemExit(f"not so: a form that was never captured: {head:#x}")

    def pairs(count):
        return {value(): value() for _ in range(count)}

    first = value()
    check(at == len(data), "nothing behind the value")
    return first


class Mtop:
    def __init__(self, uid):
        self.cookies = {"unb": uid, "cookie2": "synthetic"}

    def call(self, api, version, data):
        text = json.dumps(data, separators=(",", ":"))
        t = str(int(time.time() * 1000))
        token = self.cookies.get("_m_h5_tk", "").split("_")[0]
        sign = hashlib.md5(f"{token}&{t}&34839810&{text}".encode()).hexdigest()
        query = urlencode(
            {
                "jsv": "2.7.2", "appKey": "34839810", "t": t, "sign": sign, "v": version, "api": api,
                "type": "originaljson", "dataType": "json", "accountSite": "xianyu", "timeout": "20000",
                "sessionOption": "AutoLoginOnly", "spm_cnt": "a21ybx.im.0.0",
            }
        )
        connection = http.client.HTTPConnection(urlsplit(HTTP).netloc, timeout=WITHIN_S)
        headers = {
            "Cookie": "; ".join(f"{key}={value}" for key, value in self.cookies.items()),
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": "https://www.goofish.com",
            "Referer": "https://www.goofish.com/",
        }
        body = urlencode({"data": text})
        connection.request("POST", f"/h5/{api}/{version}/?{query}", body, headers)
        answer = connection.getresponse()
        check(answer.status == 200, "every answer of mtop is 200")
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            key, value = cookie.split(";")[0].split("=", 1)
            self.cookies[key] = value
        return json.loads(answer.read())

    def token(self, device):
        data = {"appKey": APP_KEY, "deviceId": device}
        rets = []
        for _ in range(2):
            answer = self.call("mtop.taobao.idlemessage.pc.login.token", "1.0", data)
            rets.append(answer["ret"][0].split("::")[0])
            if rets[-1] == "SUCCESS":
                break
        check(rets == ["FAIL_SYS_TOKEN_EMPTY", "SUCCESS"], f"bootstrap in two calls: {rets}")
        return answer["data"]["accessToken"]


class Socket:
    """WebSocket, as far as text goes."""

    def __init__(self, cookies):
        where = urlsplit(WS)
        self.stream = socket.create_connection((where.hostname, where.port), WITHIN_S)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET / HTTP/1.1", f"Host: {where.netloc}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Extensions: permessage-deflate", "Origin: https://www.goofish.com",
            "Cookie: " + "; ".join(f"{key}={value}" for key, value in cookies.items()),
            "Pragma: no-cache", "Cache-Control: no-cache",
        ]
        self.stream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.file = self.stream.makefile("rb")
        head = b"".join(iter(self.file.readline, b"\r\n")).decode()
        proof = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        check(head.startswith("HTTP/1.1 101 "), f"an upgrade: {head}")
        check(base64.b64encode(proof).decode() in head, "the key is proven")
        check("extensions" not in head.lower(), "compression is never agreed to")

    def say(self, frame):
        data = json.dumps(frame, ensure_ascii=False).encode()
        mask = os.urandom(4)
        length = len(data)
        head = bytes([0x81, 0x80 | length]) if length < 126 else b"\x81\xfe" + struct.pack(">H", length)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.stream.sendall(head + mask + masked)

    def hear(self):
        while True:
            first, second = self.file.read(2)
            length = second
            if length == 126:
                (length,) = struct.unpack(">H", self.file.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.file.read(8))
            data = self.file.read(length)
            if first == 0x81:
                return json.loads(data)
            check(first != 0x88, "the provider does not close")


class Bot:
    def __init__(self, uid):
        self.uid, self.mid, self.pushes = uid, 0, []
        self.mtop = Mtop(uid)
        device = f"device-{uid}"
        token = self.mtop.token(device)
        self.socket = Socket(self.mtop.cookies)
        self.socket.say(
            {
                "lwp": "/reg",
                "headers": {
                    "cache-header": "app-key token ua wv", "app-key": APP_KEY, "token": token,
                    "ua": "Mozilla/5.0 DingTalk(2.1.5) DingWeb/2.1.5", "dt": "j", "wv": "im:3,au:3,sy:6",
                    "sync": "0,0;0;0;", "did": device, "mid": "1 0",
                },
            }
        )
        registered = self.answer("1 0")
        check(registered["headers"]["reg-uid"] == f"{uid}@goofish", "it says who registered")
        now = int(time.time() * 1000)
        place = {
            "pipeline": "sync", "tooLong2Tag": "PNM,1", "channel": "sync", "topic": "sync",
            "highPts": 0, "pts": now * 1000, "seq": 0, "timestamp": now,
        }
        check(self.ask("/r/SyncStatus/ackDiff", [place])["code"] == 200, "ackDiff alone is enough")

    def ask(self, lwp, body):
        self.mid += 1
        mid = f"{self.mid}{int(time.time() * 1000)} 0"
        self.socket.say({"lwp": lwp, "headers": {"mid": mid}, "body": body})
        return self.answer(mid)

    def answer(self, mid):
        while True:
            frame = self.socket.hear()
            if frame.get("lwp", "").startswith("/s/"):
                self.acknowledge(frame)
                self.pushes.append(frame)
            elif frame["headers"].get("mid") == mid:
                check(type(frame["code"]) is int, "a code is a number")
                return frame

    def acknowledge(self, frame):
        known = ["mid", "sid", "app-key", "ua", "dt"]
        headers = {key: frame["headers"][key] for key in known if key in frame["headers"]}
        self.socket.say({"code": 200, "headers": headers})

    def push(self, lwp="/s/sync"):
        while not any(push["lwp"] == lwp for push in self.pushes):
            self.ask("/!", None)
        at = next(at for at, push in enumerate(self.pushes) if push["lwp"] == lwp)
        return self.pushes.pop(at)

    def items(self, lwp="/s/sync"):
        found = []
        for item in self.push(lwp)["body"]["syncPushPackage"]["data"]:
            data = base64.b64decode(item["data"], validate=True)
            is_json = data[:1] in (b"{", b"[")
            found.append((item["objectType"], json.loads(data) if is_json else unpack(data)))
        return found

    def send(self, inner, receivers):
        data = base64.b64encode(json.dumps(inner, ensure_ascii=False).encode()).decode()
        message = {
            "uuid": f"-{time.time_ns()}", "cid": CID, "conversationType": 1,
            "content": {"contentType": 101, "custom": {"type": 1, "data": data}},
            "redPointPolicy": 0, "extension": {"extJson": "{}"},
            "ctx": {"appVersion": "1.0", "platform": "web"}, "mtags": {}, "msgReadStatusSetting": 1,
        }
        scope = {"actualReceivers": [f"{uid}@goofish" for uid in receivers]}
        return self.ask("/r/MessageSend/sendByReceiverScope", [message, scope])


def message_is(kind, item, sender, text, is_echo, message_id):
    check(kind == 40000, "a message is 40000")
    message = item[1]
    check(sorted(message) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12], f"its fields: {sorted(message)}")
    check(message[1] == {1: f"{sender}@goofish"}, "the sender is a map")
    check(message[2] == CID and message[3] == message_id, "conversation and id")
    check(message[5] > 1_700_000_000_000, "a time in milliseconds")
    inner = json.loads(message[6][3][5])
    check(message[6][1] == 101 and message[6][3][4] == inner["contentType"], "content types")
    check(inner["text"]["text"] == text and message[6][3][2] == text, f"the text: {inner}")
    extras = message[10]
    check(extras["senderUserId"] == sender and extras["sessionType"] == "1", "who says it")
    check("itemId=500000000005&" in extras["reminderUrl"], "about which item")
    check(("clientIp" in extras) != is_echo, "only a peer's message has an address")
    check(item[3] == {"needPush": "false" if is_echo else "true"}, "needPush marks the echo")


def upload(cookies):
    image = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 800, 600) + b"\x08\x02\0\0\0"
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    connection = http.client.HTTPConnection(urlsplit(HTTP).netloc, timeout=WITHIN_S)
    headers = {
        "Cookie": "; ".join(f"{key}={value}" for key, value in cookies.items()),
        "Content-Type": "multipart/form-data; boundary=B",
    }
    path = "/api/upload.api?floderId=0&appkey=xy_chat&_input_charset=utf-8"
    connection.request("POST", path, part + image + b"\r\n--B--\r\n", headers)
    stored = json.loads(connection.getresponse().read())["object"]
    check(stored["pix"] == "800x600", f"its size: {stored}")
    connection.request("GET", urlsplit(stored["url"]).path)
    check(connection.getresponse().read() == image, "it can be fetched")


def main():
    a, b = Bot("1000000001"), Bot("2000000002")
    hints = a.items("/s/vulcan")
    check(hints[0][0] == 370000 and hints[0][1]["sessionId"] == CID.split("@")[0], "a session hint")
    text = "你好 " + "长" * 100
    answer = a.send({"contentType": 1, "text": {"text": text}}, [b.uid, a.uid])
    message_id = answer["body"]["messageId"]
    for bot, is_echo in [(a, True), (b, False)]:
        ((kind, item),) = bot.items()
        message_is(kind, item, a.uid, text, is_echo, message_id)
    check(b.ask("/r/MessageStatus/read", [[message_id]])["code"] == 200, "read")
    ((kind, receipt),) = a.items()
    check(kind == 40103 and receipt[1] == message_id and receipt[2] == 2, f"a receipt: {receipt}")
    check(receipt[4] == CID and receipt[6] > 1_700_000_000_000, "where and when")
    pic = {"height": 600, "type": 0, "url": "https://img.example.invalid/a.png", "width": 800}
    b.send({"contentType": 2, "image": {"pics": [pic]}}, [a.uid])
    ((_, item),) = a.items()
    check(json.loads(item[1][6][3][5])["image"]["pics"] == [pic], "the image")
    check(item[1][6][3][2] == "[图片]" and item[1][10]["_platform"] == "web", "its summary")
    check(len(item[1][10]) == 16, "a web peer's extras need the larger map")
    body = [{
        "pairFirst": f"{b.uid}@goofish", "pairSecond": f"{a.uid}@goofish", "bizType": "1",
        "extension": {"itemId": "500000000005"}, "ctx": {"appVersion": "1.0", "platform": "web"},
    }]
    made = a.ask("/r/SingleChatConversation/create", body)["body"]["singleChatConversation"]
    check(made["cid"] == CID and made["pairFirst"] == f"{a.uid}@goofish", "the pair in any order")
    history = a.ask("/r/MessageManager/listUserMessages", [CID, False, 2**53 - 1, 20, False])["body"]
    newest = history["userMessageModels"][0]["message"]
    sent = json.loads(base64.b64decode(newest["content"]["custom"]["data"]))
    check(newest["sender"]["uid"] == f"{b.uid}@goofish" and sent["contentType"] == 2, "history")
    check(b.ask("/r/MessageManager/recallMessage", [newest["messageId"]])["code"] == 200, "recall")
    head = a.mtop.call("mtop.idle.web.user.page.head", "1.0", {"self": True})
    check(head["data"]["baseInfo"]["kcUserId"] == a.uid, "who one is")
    upload(a.mtop.cookies)
    print("all is as the page says")


main()
