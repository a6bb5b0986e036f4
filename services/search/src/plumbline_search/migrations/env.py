from plumbline_common import migrate
from plumbline_search.models import Base

migrate.run(Base.metadata)
