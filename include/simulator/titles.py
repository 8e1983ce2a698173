"""Invented titles: what the catalogue is made of. None is a real work."""

from typing import Final, NamedTuple


class TitleIdea(NamedTuple):
    """A name and its genre; everything else about a title is drawn by `include.simulator.catalogue`."""

    name: str
    genre: str


TAGS: Final[dict[str, tuple[str, ...]]] = {
    "romance": ("slow burn", "office", "childhood friends", "second chance", "contract marriage"),
    "fantasy": ("magic academy", "dungeon", "regression", "dragons", "court intrigue"),
    "action": ("martial arts", "tower", "revenge", "hunters", "mercenaries"),
    "thriller": ("cold case", "mind games", "small town", "heist", "undercover"),
    "comedy": ("slapstick", "workplace", "family", "parody", "roommates"),
    "drama": ("coming of age", "music", "medical", "family", "law"),
    "horror": ("ghosts", "survival", "urban legend", "isolation", "body swap"),
    "sports": ("football", "cycling", "underdog", "baduk", "team"),
    "slice of life": ("food", "cats", "campus", "countryside", "night shift"),
    "historical": ("Joseon", "palace", "merchants", "war", "detective"),
}
"""Genre -> tags that its titles choose from."""

TITLE_IDEAS: Final = (
    TitleIdea("달빛 우체국", "romance"),
    TitleIdea("Letters to the Ninth Floor", "romance"),
    TitleIdea("The Umbrella Clause", "romance"),
    TitleIdea("두 번째 봄, 첫 번째 너", "romance"),
    TitleIdea("Salt and Peonies", "romance"),
    TitleIdea("유리성의 견습 마녀", "fantasy"),
    TitleIdea("The Cartographer of Lost Gates", "fantasy"),
    TitleIdea("Ashes of the Clockwork King", "fantasy"),
    TitleIdea("열두 번째 마탑", "fantasy"),
    TitleIdea("My Landlord Is a Retired Dragon", "fantasy"),
    TitleIdea("Ironwater Vanguard", "action"),
    TitleIdea("검은 파도의 용병", "action"),
    TitleIdea("Level Zero Porter", "action"),
    TitleIdea("Fist of the Last Station", "action"),
    TitleIdea("폐허의 사냥꾼들", "action"),
    TitleIdea("The Quiet Tenant of Room 404", "thriller"),
    TitleIdea("다섯 번째 목격자", "thriller"),
    TitleIdea("Paper Alibi", "thriller"),
    TitleIdea("Cold Harbour Ledger", "thriller"),
    TitleIdea("Interns of the Apocalypse", "comedy"),
    TitleIdea("우리 집 냉장고가 말을 한다", "comedy"),
    TitleIdea("The Worst Hero Agency", "comedy"),
    TitleIdea("Three Uncles and a Karaoke Bar", "comedy"),
    TitleIdea("Understudy", "drama"),
    TitleIdea("느린 오후의 첼로", "drama"),
    TitleIdea("Ward Seven at Dawn", "drama"),
    TitleIdea("The Long Recess", "drama"),
    TitleIdea("지하 3층의 노크", "horror"),
    TitleIdea("Do Not Feed the Well", "horror"),
    TitleIdea("The House That Counted Back", "horror"),
    TitleIdea("Second Half", "sports"),
    TitleIdea("언덕의 페달", "sports"),
    TitleIdea("Eleven Left Feet", "sports"),
    TitleIdea("묘수의 밤", "sports"),
    TitleIdea("새벽 네 시의 국수집", "slice of life"),
    TitleIdea("Nine Cats and a Lease", "slice of life"),
    TitleIdea("The Night Shift Garden", "slice of life"),
    TitleIdea("한양의 그림자 서기", "historical"),
    TitleIdea("The Salt Merchant's Seal", "historical"),
    TitleIdea("Lanterns over Mapo", "historical"),
)
