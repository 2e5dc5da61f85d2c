"""The colours of all pictures: readers with any of the usual kinds of colour blindness tell them apart.

They are those of Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/.
"""

BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY, DARK_GREY, LIGHT_GREY = "#999999", "#595959", "#EEEEEE"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)
