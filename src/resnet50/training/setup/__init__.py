"""Options made concrete: data, network, batch size, budget, compilation."""
