-- What models cost, and whether analysts see people's own ids: settings of the operator, which no event of the log says. The views of
-- analysts (sql/views/) read them.

CREATE TABLE model_prices (
    model_id           text    NOT NULL,
    since              date    NOT NULL, -- UTC: answers that began on that day or later, until the model's next price
    input_per_million  numeric NOT NULL, -- tokens read; in whatever currency the operator counts
    output_per_million numeric NOT NULL,
    CONSTRAINT model_prices_pkey PRIMARY KEY (model_id, since),
    CONSTRAINT model_prices_input_check CHECK (input_per_million >= 0),
    CONSTRAINT model_prices_output_check CHECK (output_per_million >= 0)
);
GRANT SELECT ON model_prices TO stenograph_app;

-- One row. With pseudonyms an id in a view is a hash of the id and of this key, which no analyst can read.
CREATE TABLE analyst_settings (
    is_only    boolean NOT NULL DEFAULT true,
    pseudonyms boolean NOT NULL,
    key        bytea   NOT NULL,
    CONSTRAINT analyst_settings_pkey PRIMARY KEY (is_only),
    CONSTRAINT analyst_settings_is_only_check CHECK (is_only)
);
INSERT INTO analyst_settings (pseudonyms, key) SELECT true, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
ANALYZE analyst_settings;
