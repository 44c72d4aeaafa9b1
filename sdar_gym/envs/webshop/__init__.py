"""WebShop: shopping tasks in a text-based online shop with search, product options and prices."""
