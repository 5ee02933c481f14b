"""The resource ModelDeployment: its types, its schema, its CustomResourceDefinition."""
