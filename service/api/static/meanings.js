// What the names of classes mean. A model of one's own may have other names, about which nothing is said.

const CLASSES = {
  SNIa: "Supernova of type Ia: a white dwarf that explodes. Rises in two to three weeks, fades over months, and does not come back.",
  SNIbc: "Supernova of type Ib or Ic: a massive star that had lost its hydrogen. Mostly fainter and faster than type Ia.",
  SNII: "Supernova of type II: a massive star with its hydrogen. Many stay on a plateau for about a hundred days.",
  SLSN: "Superluminous supernova: ten times brighter than the others and slower, often in a faint host galaxy.",
  TDE: "Tidal disruption event: a star torn apart by the black hole in the centre of a galaxy. Blue, and fades slowly.",
  AGN: "Active galactic nucleus, quasars and blazars included: the black hole of a galaxy that feeds irregularly, for years.",
  YSO: "Young stellar object: a star still gathering matter, variable from days to years.",
  CV: "Cataclysmic variable or nova: a white dwarf that takes matter from a companion, with outbursts of days to weeks.",
  LPV: "Long-period variable, such as a Mira: a red giant that pulsates over 80 to 1,000 days.",
  ECL: "Eclipsing binary: two stars that pass in front of one another, within hours to days.",
  RR: "RR Lyrae star: an old star that pulsates within 0.2 to 1 day.",
  CEP: "Cepheid: a bright star that pulsates within 1 to 100 days, the longer the brighter.",
  DSCT: "Delta Scuti star: pulsates within half an hour to eight hours.",
  RS: "RS Canum Venaticorum star: an active binary whose spotted surface turns within days to weeks.",
  Asteroid: "A body of the Solar System: it moves on, so it is seen at one place once or a few times.",
};

export const meaning = (name) => CLASSES[name];
