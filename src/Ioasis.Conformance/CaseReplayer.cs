namespace Ioasis.Conformance;

/// <summary>
/// Replays cases against one model, one after another. State lives from one case to the next only where a case says that it
/// continues.
/// </summary>
/// <param name="caching">How reports name the caching of the model.</param>
/// <param name="createModel">Builds a model over a memory; what it does goes to the outputs.</param>
internal sealed class CaseReplayer(
    string caching, Func<ResetParameters, ReplayMemory, ObservedOutputs, IModelUnderTest> createModel) : IDisposable
{
    private readonly ReplayMemory _memory = new();
    private readonly ObservedOutputs _observed = new();
    private readonly TagMap _tags = new();
    private ResetParameters _parameters = new();
    private IModelUnderTest? _model;

    /// <summary>How reports name the caching of the model.</summary>
    public string Caching => caching;

    /// <summary>Replays a case.</summary>
    /// <returns>
    /// The fields that differ. A case ends at its first operation with differences, because those that follow are mostly its
    /// consequences; one in a chain of continued cases goes on, because the next needs its state.
    /// </returns>
    public List<Difference> Replay(VectorCase vectorCase)
    {
        List<Difference> differences = [];
        if (!vectorCase.Continues || _model is null)
        {
            _model?.Dispose();
            _memory.Clear();
            _observed.Clear();
            _tags.Clear();
            _parameters = vectorCase.Parameters with { };
            _model = createModel(_parameters, _memory, _observed);
        }

        _model.SetStepping(vectorCase.IsStepped);
        bool inChain = vectorCase.Continues || vectorCase.IsStepped;
        for (int i = 0; i < vectorCase.Operations.Count; i++)
        {
            VectorOperation operation = vectorCase.Operations[i];
            DifferenceList found = new();
            try
            {
                if (vectorCase.IsStepped)
                {
                    // Recorded with empty caches before every operation: it changes tables and registers behind their back.
                    _model.EmptyCaches();
                }

                Perform(_model, operation, found);
            }
#pragma warning disable CA1031 // whatever a model throws is a finding: no input may make it throw
            catch (Exception exception)
#pragma warning restore CA1031
            {
                found.Add("exception", "none", $"{exception.GetType().Name}: {exception.Message} {exception.StackTrace}", "none: it must not throw");
            }

            foreach ((string field, string expected, string actual, string section) in found.Items)
            {
                differences.Add(new(vectorCase.Id, vectorCase.Topic, caching, i, operation.ToString(), field, expected, actual, section));
            }

            if (found.Items.Count > 0 && !inChain)
            {
                break;
            }
        }

        return differences;
    }

    /// <inheritdoc/>
    public void Dispose() => _model?.Dispose();

    private void Perform(IModelUnderTest model, VectorOperation operation, DifferenceList found)
    {
        _observed.Clear();
        _memory.ForgetStores();
        switch (operation)
        {
            case StoreOperation stores:
                foreach ((ulong address, byte[] bytes) in stores.Stores)
                {
                    _memory.Poke(address, bytes);
                }

                return;
            case ArmFaultOperation fault:
                _memory.Arm(fault);
                return;
            case DisarmFaultsOperation:
                _memory.Disarm();
                return;
            case RegisterWriteOperation write:
                model.WriteRegister(write.Offset, write.Size, write.Value);
                break;
            case RegisterReadOperation read:
                ulong value = model.ReadRegister(read.Offset, read.Size);
                if (!read.DependsOnCaches)
                {
                    ulong mask = read.Mask & (read.Size == 8 ? ulong.MaxValue : uint.MaxValue);
                    if (((value ^ read.Value) & mask) != 0)
                    {
                        found.Add(
                            RegisterNames.Of(read.Offset),
                            DifferenceList.Hex(read.Value & mask),
                            $"{DifferenceList.Hex(value & mask)} (mask {DifferenceList.Hex(mask)})",
                            RegisterNames.SectionOf(read.Offset));
                    }
                }

                break;
            case TranslateOperation translate:
                TransactionResponse response = model.Translate(translate.Request);
                if (!operation.Outputs.DependsOnCaches)
                {
                    ResponseComparer.Compare(translate.Request, translate.Response, response, found);
                }

                break;
            case PageRequestOperation request:
                model.ReceivePageRequest(request.Message);
                break;
            case CompletionOperation completion:
                ulong vector = _tags.ToActual((uint)completion.Message.Payload);
                bool unexpected = model.ReceiveCompletion(
                    completion.Message with { Payload = (completion.Message.Payload & ~0xffff_fffful) | vector });
                if (!operation.Outputs.DependsOnCaches)
                {
                    found.Compare(
                        "unexpected completion", completion.IsUnexpected ? 1u : 0, unexpected ? 1u : 0, SpecificationSections.AtsCommands);
                }

                break;
            case TimeoutOperation timeout:
                model.TimeOut(_tags.ToActual(timeout.Tags));
                break;
            case StepOperation:
                model.StepCommand();
                break;
            case ForceOperation force:
                model.ForceRegister(force.Offset, force.Value);
                break;
            case ParametersOperation change:
                change.Change(_parameters);
                model.ChangeParameters(_parameters);
                break;
            default:
                throw new InvalidOperationException($"no replay for {operation}");
        }

        MapTags(operation.Outputs);
        if (!operation.Outputs.DependsOnCaches && (HasAny(operation.Outputs) || HasAny(_observed) || _memory.Before.Count > 0))
        {
            OutputComparer.Compare(operation.Outputs, _observed, _memory, QueueLayout.Read(model), found);
        }
    }

    // Tags are the implementation's choice: from here on its tag stands for the recorded one.
    private void MapTags(ExpectedOutputs expected)
    {
        for (int i = 0; i < _observed.Messages.Count; i++)
        {
            VectorMessage actual = _observed.Messages[i];
            if (actual.Code == 1 && i < expected.Messages.Count && expected.Messages[i].Code == 1)
            {
                _tags.Learn(expected.Messages[i].Tag, actual.Tag);
                _observed.Messages[i] = actual with { Tag = expected.Messages[i].Tag };
            }
        }
    }

    private static bool HasAny(ExpectedOutputs outputs) =>
        outputs.Stores.Count + outputs.Interrupts.Count + outputs.Messages.Count + outputs.Observability.Count > 0;

    private static bool HasAny(ObservedOutputs outputs) =>
        outputs.Interrupts.Count + outputs.Messages.Count + outputs.Observability.Count > 0;
}
