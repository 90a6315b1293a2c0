-- Run once, by Postgres's own image, in an empty data folder; POSTGRES_DB makes `wavehouse`.
CREATE DATABASE dagster;
CREATE DATABASE mlflow;
