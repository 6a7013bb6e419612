"""The API of Kubeflow Pipelines as its published Swagger has it, read from the client that was generated from that."""

import datetime
import inspect
import re

import kfp_server_api
from kfp_server_api import api, models

PRIMITIVES = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}


def problems_of(exchanges):
    """In what these requests and answers are not what the API has."""
    known = list(operations())
    return [problem for each in exchanges for problem in problems_of_exchange(known, each)]


def operations():
    """Every operation: its method and path, the names in its query, the types of its body and answer."""
    for service in vars(api).values():
        for name, function in inspect.getmembers(service, inspect.isfunction) if inspect.isclass(service) else ():
            if not name.endswith("_with_http_info"):
                continue
            source = inspect.getsource(function)
            path, method = re.search(r"call_api\(\s*'([^']+)', '(\w+)'", source).groups()
            body = re.search(r"body_params = local_var_params\['(\w+)'\]", source)
            file = re.search(r"local_var_files\['(\w+)'\]", source)
            answer = re.search(r"response_type=(?:'([^']*)'|None)", source)
            yield {
                "method": method,
                "path": re.compile(re.sub(r"\{[^}]*\}", "[^/:]+", path)),
                "query": set(re.findall(r"query_params\.append\(\('(\w+)'", source)),
                "body": body and re.search(rf":type {body[1]}: (\S+)", source)[1],
                "file": file and file[1],
                "answer": answer and answer[1],
            }


def problems_of_exchange(known, exchange):
    where = f"{exchange['method']} {exchange['path']}"
    fitting = [
        each for each in known if each["method"] == exchange["method"] and each["path"].fullmatch(exchange["path"])
    ]
    # `upload_version` could be the id of a pipeline, too.
    operation = min(fitting, key=lambda each: "[^/:]+" in each["path"].pattern, default=None)
    if operation is None:
        return [f"{where}: the API has no such operation"]
    found = [f"{where}: no `{name}` in the query" for name in set(exchange["query"]) - operation["query"]]
    if operation["file"]:
        found += [] if list(exchange["body"]) == [operation["file"]] else [f"{where}: the file is {operation['file']}"]
    elif exchange["body"] is not None:
        found += list(misfits(operation["body"], exchange["body"], f"{where}: body"))
    if exchange["status"] == 200:
        found += list(misfits(operation["answer"], exchange["answer"], f"{where}: answer"))
    return found


def misfits(type_, value, where):
    """Where a value is not of a type of the API; unknown fields are misfits, too."""
    if type_ is None:
        yield f"{where}: nothing is expected"
    elif type_ in PRIMITIVES:
        if not isinstance(value, PRIMITIVES[type_]) or (type_ != "bool" and isinstance(value, bool)):
            yield f"{where}: {value!r} is not {type_}"
    elif type_ == "datetime":
        try:
            datetime.datetime.fromisoformat(value)
        except ValueError:
            yield f"{where}: {value!r} is not a time"
    elif listed := re.fullmatch(r"list\[(.*)\]", type_):
        for number, item in enumerate(value):
            yield from misfits(listed[1], item, f"{where}[{number}]")
    elif mapped := re.fullmatch(r"dict\(str, (.*)\)", type_):
        for name, item in value.items():
            yield from misfits(mapped[1], item, f"{where}.{name}")
    else:
        yield from misfits_of_model(getattr(models, type_), value, where)


def misfits_of_model(model, value, where):
    if hasattr(model, "allowable_values"):
        if value not in model.allowable_values:
            yield f"{where}: {value!r} is none of {model.allowable_values}"
        return
    fields = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
    for name, item in value.items():
        if name not in fields:
            yield f"{where}: {model.__name__} has no {name}"
        else:
            yield from misfits(fields[name], item, f"{where}.{name}")


def seen_by_client(host, name):
    """What kfp's own client finds of a pipeline at a server."""
    from kfp import Client

    client = Client(host=host)
    id_ = client.get_pipeline_id(name)
    versions = client.list_pipeline_versions(id_, sort_by="created_at desc").pipeline_versions
    recurring = client.list_recurring_runs().recurring_runs or []
    runs = client.list_runs().runs or []
    return {
        "versions": [each.display_name for each in versions],
        "recurring": [[each.trigger.cron_schedule.cron, each.max_concurrency, each.status] for each in recurring],
        "runs": [[each.display_name, each.runtime_config.parameters] for each in runs],
    }


assert kfp_server_api.__version__.startswith("2.")
