"""Every refusal and failure this project knows by name.

    StenographError
    ├── Refusal                      the answer is no; asking again the same way gives the same no
    │   ├── BadStreamName, BadCursor, BadRequest, BadSearch, ContentRefused, TooLarge, BodyTooLarge
    │   ├── NotAuthenticated, WrongCredentials, Forbidden, ScopeMissing, AccountInactive, TooManyAttempts
    │   ├── ChatNotFound (ChatToActInNotFound), StreamNotFound, MessageNotFound, ModelNotFound, ResponseNotFound, UserNotFound, TaskNotFound
    │   ├── ApiKeyNotFound, SessionNotFound, ProviderNotFound
    │   ├── ModelEntryNotFound, ModelExists, GroupNotFound
    │   ├── ChannelNotFound, ChannelExists, WebhookNotFound
    │   ├── NotAThread               a reply to a reply in a channel
    │   ├── ArenaEmpty               an arena has nothing to pick for this caller
    │   ├── FolderNotFound, FolderExists, FolderNameTaken, FolderCycle
    │   ├── ActionNotFound, ActionNotAvailable
    │   ├── FunctionNotFound (FunctionVersionNotFound), FunctionExists, FunctionInactive, FunctionReadOnly
    │   ├── FunctionNotLoaded        a function's source that cannot be run: names the line and the exception
    │   ├── ValvesRefused            settings of a function that are not as it declares them
    │   ├── ChatExists, MessageExists, ParentNotFound, GenerationNotOpen, GenerationOpen
    │   ├── DeltaGap, BlockGap       a part of an answer that came out of turn
    │   ├── CallNotFound, CallTaken, CallExpired, TooManyCalls   a question to the user
    │   ├── ChunkGap                 a chunk of a direct connection that came out of turn
    │   ├── QuotaReached             an account has as much as it may have
    │   │   └── RateReached          … for now: some of it ends, or a new day begins
    │   ├── ChatFull                 a chat holds as many messages or bytes as it may
    │   ├── ChatChanged              a message, or the chat itself, is not as the caller last saw it
    │   ├── EditConflict             two people changed the same of a message: both versions of it are named
    │   ├── ClaimTaken               something that must be unique is somebody else's already
    │   ├── ImportRefused            a chat from elsewhere that cannot be taken: names the chat and the key
    │   ├── ShareRefused             a person takes no shares from this one
    │   ├── TooManyOffers            … or has not answered those that are there
    │   ├── BeforeFirstEvent         a time at which there was nothing yet
    │   ├── BadLine                  a line of a file that cannot be restored
    │   ├── CommandMismatch          an idempotency key came back with another body
    │   └── CursorGone               a cursor of another history, or from the future
    ├── ConcurrencyConflict          the stream moved on between reading and appending; nothing was written
    │   └── TooManyLostRaces         … and it did so every time
    └── Unavailable                  not now; the same request may succeed later
        ├── LogUnavailable           Postgres was silent: it may have been written, repeat with the same command id
        ├── Overloaded               a bounded queue is full
        ├── ProjectionBehind         lists and searches do not hold yet what the caller wants to see in them
        ├── ProviderFailed           the model's server refused, broke off, or went silent
        │   └── PipelineFailed       a server of filters refused
        ├── FilterRefused            a filter chose a model that cannot be asked
        └── FunctionFailed           a function raised an exception, or took too long

Each subject has a module; this one has the names of all. A class is named for the fact, carries its numbers as attributes and puts
both sides into its text. ``code`` is stable and meant for programs; ``api/request/errors.py`` alone knows which HTTP status or close
code goes with it.
"""

from domain.errors.accounts import *
from domain.errors.channels import *
from domain.errors.chats import *
from domain.errors.functions import *
from domain.errors.generation import *
from domain.errors.kinds import *
from domain.errors.log import *
from domain.errors.requests import *
from domain.errors.routing import *
