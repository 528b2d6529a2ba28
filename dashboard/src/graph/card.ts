/** The size of a service on the map, in the map's own units: pixels at life size. */

export const CARD = { width: 196, height: 70 };
