"""Class folders of archives whose lists are published with them, in the order of their labels (that of the alphabet).

AiRound, OPTIMAL-31 and CV-BrCT are not among them: their folders differ from copy to copy, so only the count is checked.
"""

from __future__ import annotations

CLASSES: dict[str, str] = {
    "eurosat": "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River "
    "SeaLake",
    "resisc45": "airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland "
    "cloud commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor "
    "industrial_area intersection island lake meadow medium_residential mobile_home_park mountain overpass palace "
    "parking_lot railway railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg "
    "sparse_residential stadium storage_tank tennis_court terrace thermal_power_station wetland",
    "ucmerced": "agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest freeway "
    "golfcourse harbor intersection mediumresidential mobilehomepark overpass parkinglot river runway "
    "sparseresidential storagetanks tenniscourt",
    "aid": "Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential Desert Farmland "
    "Forest Industrial Meadow MediumResidential Mountain Park Parking Playground Pond Port RailwayStation Resort River "
    "School SparseResidential Square Stadium StorageTanks Viaduct",
    "mlrsnet": "airplane airport bareland baseball_diamond basketball_court beach bridge chaparral cloud "
    "commercial_area dense_residential_area desert eroded_farmland farmland forest freeway golf_course "
    "ground_track_field harbor&port industrial_area intersection island lake meadow mobile_home_park mountain overpass "
    "park parking_lot parkway railway railway_station river roundabout shipping_yard snowberg "
    "sparse_residential_area stadium storage_tank swimmimg_pool tennis_court terrace transmission_tower "
    "vegetable_greenhouse wetland wind_turbine",
    "whu-rs19": "Airport Beach Bridge Commercial Desert Farmland Forest Industrial Meadow Mountain Park Parking Pond "
    "Port Residential River Viaduct footballField railwayStation",
}
"""Preset -> names, split at spaces; `swimmimg_pool` is spelt so in the archive."""
CLASSES["eurosat-ms"] = CLASSES["eurosat"]
