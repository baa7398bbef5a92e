"""
Distances on the globe.
"""

from math import asin, cos, nan, radians, sin, sqrt

#: Mean radius of the Earth in kilometres (IUGG).
EARTH_RADIUS_KM = 6371.0088


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """
    Return the great-circle distance between two places, all angles in degrees; NaN where one of them is no place.

    References:
        Sinnott 1984, Virtues of the Haversine, Sky and Telescope 68 (2).
    """
    if max(abs(latitude), abs(other_latitude)) > 90.0 or max(abs(longitude), abs(other_longitude)) > 180.0:
        return nan
    phi, other_phi = radians(latitude), radians(other_latitude)
    half_phi, half_lambda = (other_phi - phi) / 2.0, radians(other_longitude - longitude) / 2.0
    chord = sin(half_phi) ** 2 + cos(phi) * cos(other_phi) * sin(half_lambda) ** 2
    return 2.0 * EARTH_RADIUS_KM * asin(sqrt(min(1.0, max(0.0, chord))))
