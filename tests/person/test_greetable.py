"""Mails repeat real names as they are, and nothing else."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.person.greetable import is_greetable
from tests.support.names import REAL_NAMES, cases

ABUSIVE_NAMES = {
    "host name": [
        "evil.com",
        "www.evil.com",
        "Visit evil.com",
        "evil.co.uk",
        "bit.ly",
        "t.co",
        "a.co",
        "e.vil",
        "J.R.R.com",
        "J.Smith",
        "St.ly",
        "St.John",
        "Dr.No",
        "Mr.com",
        "B.Sc",
        "Ph.Dx",
        "x-com.ru",
        "x.yz Smith",
        "will.i.am",
        "O'Brien.com",
        "пример.рф",
        "გე.გე",
        "एक.नेट",
        "दो.भारत",
        "موقع.كوم",
        "דוגמה.קום",
        "ลิงก์.ไทย",
        "例子.中国",
        "例え.テスト",
        "한국.닷컴",
    ],
    "what looks like a full stop": [
        "evil。com",
        "evil．com",
        "evil｡com",
        "evil․com",
        "evil‥com",
        "evil…com",
        "evil﹒com",
        "evil۔com",
        "evil܁com",
        "evil·com",
        "evil・com",
        "evil‧com",
        "evil•com",
        "evil∙com",
        "evil⋅com",
        "evilꓸcom",
        "evilꞏcom",
        "evil٠com",
        "ꓰꓦꓲꓡꓸꓚꓳꓟ",
        "evil・F・com",
        "evil۰com",
        "evil।com",
        "evil。中国",
        "例子．中国",
        "evil ͏.com",
    ],
    "host name in pieces": [
        "evil .com",
        "evil . com",
        "evil. com",
        "evil ,com",
        "evil,com",
        "evil com",
        "evil dot com",
        "evil DOT net",
        "evil punto es",
        "evil (dot) com",
        "evil[.]com",
        "evil at mail dot io",
        "Evil·Com",
    ],
    "address": [
        "http://evil.com",
        "Click http://evil.com",
        "https evil",
        "hxxp evil",
        "wwwevil",
        "www evil",
        "//evil",
        "evil/path",
        "evil\\share",
        "evil:8080",
        "javascript:alert",
        "mailto:ada",
        "user@evil.com",
        "user＠evil",
        "@handle",
        "Ada @evil",
        "#win",
        "xn--e1afmkfd",
        "xn--80ak6aa92e.com",
    ],
    "number": [
        "1.1.1.1",
        "Ada 1.1.1.1",
        "Ada 10.1",
        "555 1234",
        "Ada 12-34-56",
        "+1 555 123 4567",
        "Call 07 00 90",
        "٠١٢٣٤٥٦٧",
        "Ada ٠١ ٢٣",
        "१२३",
        "１２３",
        "𝟙𝟚𝟛",
        "一三八一三八",
        "12",
        "½",
        "1️⃣",
    ],
    "sentence": [
        "Click here to win",
        "Click Here To Win",
        "CLICK HERE",
        "click",
        "Click-Here-Now",
        "ClickHereNow",
        "Clíck hére",
        "cLiCk",
        "Free money waiting for you",
        "Free Money",
        "FreeMoney",
        "free money for you",
        "Your account is suspended",
        "Verify Your Account",
        "You have won",
        "You have won $100",
        "Win Cash Now",
        "Act Now",
        "BUY CHEAP PILLS NOW",
        "LOREM IPSUM DOLOR SIT AMET",
        "Jetzt Geld gewonnen",
        "Make Money Fast",
        "Call Me Now",
        "Security Alert",
        "Support Team",
        "Instant Loan Approval",
        "Last Chance Tonight",
        "Dear Customer",
        "Send bitcoin",
        "bitcoin",
        "BTC",
        "Casino Royale",
        "Join WhatsApp",
        "Sie haben gewonnen",
        "Votre compte est suspendu",
        "Tu cuenta ha sido suspendida",
        "tu cuenta ha sido suspendida",
        "Cliquez ici",
        "Нажмите сюда",
        "Ваш аккаунт заблокирован",
        "اضغط هنا",
        "点击这里",
        "恭喜您获得大奖请立即联系我们领取",
        "ここをクリック",
        "여기를 클릭",
        "यहाँ क्लिक करें",
        "คลิกที่นี่",
        "I love you",
        "one two three four five six seven",
    ],
    "line break": [
        "Bob\nBcc: x@y",
        "Bob\r\nBcc",
        "Bob\rBcc",
        "Bob\n",
        "\nBob",
        "Bob\u2028Bcc",
        "Bob\x85B",
        "Bob\x0bB",
        "Bob\tB",
    ],
    "invisible": [
        "",
        " ",
        "Bo\u200bb",
        "Bo\u200cb",
        "Bo\u200db",
        "Bob\u200d",
        "\u200cBob",
        "Bo\u2060b",
        "Bo\u00adb",
        "Bo\ufeffb",
        "Bo\u034fb",
        "Bo\ufe0fb",
        "Bo\u3164b",
        "\u3164",
        "Bo\u115fb",
        "Bo\U000e0041b",
        "moc\u202elive",
        "Bob\u200f",
        "\u2066Bob\u2069",
        "Bo\u2003b",
    ],
    "markup and syntax": [
        "<b>Bob</b>",
        "<img src=//evil>",
        '" onmouseover=',
        "Bob &amp; Co",
        "Bob & Alice",
        "{{7*7}}",
        "{{name}}",
        "${7*7}",
        "{svc.secret}",
        "{% if %}",
        "%s%n",
        "$name",
        "`id`",
        "' OR 1",
        "Robert'); DROP TABLE users",
        "O''Brien",
        "=?utf-8?q?evil=2Ecom?=",
        "=?utf-8?q?Bob=0d=0aBcc:_x@y.com=0d=0a=0d=0aBODY?=",
        "*Bob*",
        "_Bob_",
        "[Bob](evil)",
        "Bob;",
        "Bob|id",
        "..",
        "-",
        "'",
        "·",
        "-Bob",
        "Bob-",
        "Bob--Bob",
        "Bob,",
        "Bob, Bob, Bob, Bob",
    ],
    "symbol": [
        "😀 Bob",
        "Bob 👍🏽",
        "🇬🇧",
        "Bob™",
        "€ Bob",
        "Bob £5",
        "₿",
        "Bob!",
        "Bob?",
        "★ Bob",
        "Smith (Bob)",
        "“Bob”",
    ],
    "disguise": [
        "𝐂𝐥𝐢𝐜𝐤 𝐡𝐞𝐫𝐞",
        "𝒞𝓁𝒾𝒸𝓀",
        "ＣＬＩＣＫ",
        "ᴄʟɪᴄᴋ",
        "ᶜˡⁱᶜᵏ",
        "ⓒⓛⓘⓒⓚ",
        "ʞɔıʅɔ",
        "Раypal",
        "pаypal",
        "Hеllo",
        "ευil",
        "Cl1ck h3re",
        "B̈̈̈̈̈̈ob",
        "B⃝ob",
        "\u0301Bob",
    ],
    "endless": ["x" * 37, "xy" * 31, "AAAA", "Bobbbbb", "Ada    Lovelace", "あいうえおかきくけこさしす"],
}

ALPHABET = "aAbB12 .,'’-·・。․ꓸ٠٢Яяא田ー்ക്ര\u200c\u200d\u0301\u0941@:/<&{$"
FRAGMENTS = [
    "Ada",
    "evil",
    "com",
    "www",
    "http",
    "J.",
    "Dr.",
    "St.",
    "ly",
    "d'",
    "van",
    "علی",
    "田中",
    "ශ්",
    *ALPHABET,
]


@pytest.mark.parametrize("name", cases(REAL_NAMES))
def test_a_real_name_is_greeted(name: str) -> None:
    assert is_greetable(name)


@pytest.mark.parametrize("name", cases(REAL_NAMES))
def test_it_does_not_matter_how_accents_are_composed(name: str) -> None:
    assert is_greetable(unicodedata.normalize("NFD", name))


@pytest.mark.parametrize("name", cases(ABUSIVE_NAMES))
def test_nothing_but_a_name_is_greeted(name: str) -> None:
    assert not is_greetable(name)


def test_a_name_of_six_words_and_sixty_characters_is_greeted() -> None:
    name = " ".join(["Alexander"] * 6) + "x"

    assert len(name) == 60
    assert is_greetable(name)
    assert not is_greetable(name + "x")
    assert not is_greetable("A B C D E F G")


@given(st.text(st.characters(exclude_categories=())) | st.text(ALPHABET))
def test_any_text_is_answered(text: str) -> None:
    assert is_greetable(text) in (True, False)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join))
def test_what_is_greeted_holds_nothing_that_makes_a_link(text: str) -> None:
    shown = unicodedata.normalize("NFKC", text)

    if is_greetable(text):
        assert not re.search(r"[.。․ꓸ]\w\w|[@:/<&{$]|\d{3}|www|http", shown)
