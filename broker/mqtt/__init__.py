"""MQTT: the packets, a light client, a durable server for the embedded form, and Mosquitto's configuration."""
