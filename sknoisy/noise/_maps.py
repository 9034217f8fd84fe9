"""Class names, wrong-class maps and superclasses of the usual benchmarks, by class id."""

from __future__ import annotations

from collections.abc import Mapping

CIFAR10_CLASSES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""Names of the CIFAR-10 classes in the order of their ids."""

CIFAR10_ASYMMETRIC: Mapping[int, int] = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog."""

CIFAR10_ASYMMETRIC_ONE_WAY: Mapping[int, int] = {9: 1, 2: 0, 4: 7, 3: 5}
"""The same with cat -> dog alone: dog stays clean."""

MNIST_ASYMMETRIC: Mapping[int, int] = {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
"""7 -> 1, 2 -> 7, 5 <-> 6, 3 -> 8."""

# Superclasses in the order of the data set's coarse ids.
_MEMBERS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}

CIFAR100_CLASSES: tuple[str, ...] = tuple(sorted(" ".join(_MEMBERS.values()).split()))
"""Names of the CIFAR-100 classes: fine ids are alphabetical."""

CIFAR100_SUPERCLASSES: Mapping[str, tuple[int, ...]] = {
    name: tuple(CIFAR100_CLASSES.index(member) for member in members.split())
    for name, members in _MEMBERS.items()
}
"""Fine ids of the 20 true superclasses, in the order of the coarse ids."""

CIFAR100_BLOCKS: tuple[tuple[int, ...], ...] = tuple(
    tuple(range(start, start + 5)) for start in range(0, 100, 5)
)
"""Blocks of five consecutive ids. Often called superclasses, which they are not: the first one
holds apple, aquarium fish, baby, bear and beaver."""
