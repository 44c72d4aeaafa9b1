"""WebShop: find and buy the product that an instruction describes, in a text shop with search, options and prices."""
