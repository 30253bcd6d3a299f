import networkx
import numpy as np

from resnet50.etl.near_duplicates.clusters import Forest


def test_clusters_are_networkxs_connected_components_named_by_their_first_member() -> None:
    edges = np.random.default_rng(0).integers(0, 100, (60, 2)).tolist()
    forest, graph = Forest(100), networkx.Graph(edges)
    graph.add_nodes_from(range(100))
    for one, other in edges:
        connected = forest.root(one) == forest.root(other)
        assert forest.join(one, other) is not connected
    roots = forest.roots()
    for component in networkx.connected_components(graph):
        assert {int(roots[member]) for member in component} == {min(component)}
