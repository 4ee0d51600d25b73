namespace Ioasis.Scenarios;

/// <summary>The outcome of a scenario is wrong: the message says what is, and what it should be.</summary>
internal sealed class ScenarioException : Exception
{
    /// <summary>Makes one without a message.</summary>
    public ScenarioException()
    {
    }

    /// <summary>Makes one.</summary>
    public ScenarioException(string message)
        : base(message)
    {
    }

    /// <summary>Makes one with its cause.</summary>
    public ScenarioException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
