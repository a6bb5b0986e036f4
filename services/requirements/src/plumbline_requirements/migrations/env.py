from plumbline_common import migrate
from plumbline_requirements.models import Base

migrate.run(Base.metadata)
