"""Words that distinguish a sentence from a name.

These lists need not be complete: what a mail program could turn into a link is refused by its shape.
"""

# ruff: noqa: RUF001  # the words are in their own scripts on purpose

import unicodedata


def fold(text: str) -> str:
    """The text without case and accents."""
    if text.isascii():
        return text.lower()
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _words(text: str) -> frozenset[str]:
    return frozenset(fold(text).split())


# Written in lower case inside a capitalized name. The last line is how names in Malaysia and Singapore
# express descent.
PARTICLES = _words("""
    aan ab abu af al ap av bar bat ben bey bin bint binti d da dal dalla das de degli dei del dela della
    delle dello den der des di do dos du e el ferch het i ibn im in ka kwa l la las le les lo los mac mc na
    nee ni nic o op s san t te ten ter u ud ul umm und van vom von wa y z ze zu zum zur
    a/l a/p d/o s/o
""")

# A period may end these, as it may end an initial.
ABBREVIATIONS = _words("""
    adm arq atty capt cdr chas cmdr col cpl dipl don dott dr dra drs dña eng engr esq fam fco frhr gen
    geo gob gov gral hon ifj ing inż jas jnr jos jr judr kfm lic ll lt maj mag md med mgr mme mohd mons mr
    mrs ms msgr mudr mx özv ph phd phdr pres prof profa pvt rep rev rndr robt sen sgt snr sr sra srta
    st sta ste sto thos univ ven
    акад инж проф פרופ พล
""")

# No name has one of these words, so one of them is enough.
TELLTALES = _words("""
    account accounts activate bitcoin btc casino cialis claim click com congratulations crypto customer
    discount discounts download ethereum expired ftp giveaway hacked http https hxxp hxxps invoice
    iphone jackpot join loans login lottery password paypal pharmacy pills please prize prizes refund rewards
    singles subscribe suspended telegram unlock unsubscribe urgent verify viagra visit voucher waiting website
    whatsapp www your
    ahora clic clicca cliccare clique cliquez cuenta dinero dinheiro félicitations felicidades gagnez ganado
    ganaste gewonnen glückwunsch gratis gratuit gratuito jetzt klicka klicken kliknij kostenlos maintenant
    tıkla tıklayın votre wygrałeś
    аккаунт бесплатно бесплатные биткоин выиграли жми кликните нажми нажмите перейдите ссылка ссылке
    اربح اضغط انقر فزت مجانا זכית לחץ क्लिक
""")

# The same for scripts that are written without spaces.
TELLTALE_PARTS = _words("""
    点击 點擊 免费 免費 链接 連結 网址 中奖 中獎 当選 微信 比特币 クリック 無料 클릭 무료 링크 당첨 คลิก รางวัล
""")

# Each of these is somebody's name; two of them make a sentence.
EVERYDAY = _words("""
    act add admin alert and approval are attachment back bank been best big bonus brides business buy call
    card cash chance cheap check compte confirm contact credit day deal deals dear delivery dollar dollars
    double earn easy enter euros exclusive extra failed fast final for free from get gift girls gold great
    guaranteed has have hello help here hier hot how important income instant investment is it just klick
    klik last limited link look lose love low luxury make me message million money more need new not
    notice now of off offer online only open order our out package paid pay payment porn profit quick read
    reply rolex sale save security see sell send sex special start stop support tax team text that the
    there this time today tomorrow tonight unlimited unpaid up update us user want warning was watch
    watches we weight what who why win winner with won work you
""")

# How people spell out a dot ("evil dot com"). No name has one of these words between others.
SPOKEN_STOPS = _words("dot nokta point ponto punkt punto точка")
