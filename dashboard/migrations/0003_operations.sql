-- What is done under a switch's id: a switch, or another of the things that an agent's wrapper can do.
ALTER TABLE switches ADD COLUMN operation TEXT NOT NULL DEFAULT 'switch';
-- How far it is, where it has several steps: JSON, as the host sent it.
ALTER TABLE switches ADD COLUMN steps TEXT;
-- What Nix or the activation is doing, likewise; NULL when it is over.
ALTER TABLE switches ADD COLUMN phase TEXT;
