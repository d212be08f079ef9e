"""Emergency broadcast: signed messages over MQTT to village loudspeakers, and a simulated village."""
