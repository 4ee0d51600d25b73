using System.Buffers.Text;
using System.Text;
using System.Text.Json;

namespace Ioasis.Conformance;

/// <summary>Parses one line: the case, its parameters and its operations.</summary>
internal sealed partial class VectorParser(string file, int line)
{
    /// <summary>Parses a line.</summary>
    /// <exception cref="VectorFormatException">It is not a case.</exception>
    public VectorCase Parse(ReadOnlySpan<byte> text)
    {
        try
        {
            Utf8JsonReader json = new(text);
            VectorCase result = ParseCase(ref json);
            return json.Read() ? throw Bad("more than one JSON value on the line") : result;
        }
        catch (JsonException exception)
        {
            throw new VectorFormatException(file, line, "is not JSON: " + exception.Message, exception);
        }
    }

    private VectorCase ParseCase(ref Utf8JsonReader json)
    {
        string? id = null, topic = null;
        ResetParameters? parameters = null;
        List<VectorOperation>? operations = null;
        List<string> needs = [];
        bool continues = false, stepped = false;
        if (!json.Read())
        {
            throw Bad("the line is empty");
        }

        Expect(ref json, JsonTokenType.StartObject, "a case (an object)");
        while (NextKey(ref json))
        {
            if (json.ValueTextEquals("id"u8))
            {
                id = ReadText(ref json);
            }
            else if (json.ValueTextEquals("t"u8))
            {
                topic = ReadText(ref json);
            }
            else if (json.ValueTextEquals("p"u8))
            {
                parameters = new();
                ReadParameters(ref json)(parameters);
            }
            else if (json.ValueTextEquals("o"u8))
            {
                operations = ReadOperations(ref json);
            }
            else if (json.ValueTextEquals("cont"u8))
            {
                continues = ReadFlag(ref json);
            }
            else if (json.ValueTextEquals("step"u8))
            {
                stepped = ReadFlag(ref json);
            }
            else if (json.ValueTextEquals("need"u8))
            {
                Begin(ref json);
                while (Next(ref json))
                {
                    needs.Add(Text(ref json));
                }
            }
            else
            {
                Skip(ref json);
            }
        }

        return new(
            id ?? throw Bad("the case has no \"id\""),
            topic ?? throw Bad("the case has no topic (\"t\")"),
            line,
            parameters ?? (continues ? new() : throw Bad("the case has no reset parameters (\"p\")")),
            needs,
            continues,
            stepped,
            operations ?? throw Bad("the case has no operations (\"o\")"));
    }

    /// <summary>Reads a parameter object as the change it makes: complete for a case, partial for "par".</summary>
    private Action<ResetParameters> ReadParameters(ref Utf8JsonReader json)
    {
        Action<ResetParameters> change = _ => { };
        _ = json.Read();
        Expect(ref json, JsonTokenType.StartObject, "reset parameters (an object)");
        while (NextKey(ref json))
        {
            string key = json.GetString()!;
            _ = json.Read();
            ulong value = key is "cap" or "fctl" or "dm" or "qm" or "b1" or "b2" or "b1s" or "b2s" ? Hex(ref json) : Number(ref json);
            change += key switch
            {
                "cap" => p => p.Capabilities = value,
                "fctl" => p => p.Fctl = (uint)value,
                "gw" => p => p.IsGxlWritable = value != 0,
                "bw" => p => p.IsBigEndianWritable = value != 0,
                "rm" => p => p.ResetMode = (int)value,
                "mm" => p => p.MaxMode = (int)value,
                "dm" => p => p.DeviceIdMask = (uint)value,
                "nh" => p => p.HpmCounters = (int)value,
                "hb" => p => p.HpmCounterBits = (int)value,
                "el" => p => p.MaxEventId = (int)value,
                "vb" => p => p.VectorBits = (int)value,
                "qm" => p => p.QosIdMask = (uint)value,
                "b1" => p => p.BareFirstStageSize = value,
                "b2" => p => p.BareSecondStageSize = value,
                "b1s" => p => p.BareFirstStageSizeSv32 = value,
                "b2s" => p => p.BareSecondStageSizeSv32x4 = value,
                "fa" => _ => { },
                _ => throw Bad($"unknown reset parameter \"{key}\""),
            };
        }

        return change;
    }

    private List<VectorOperation> ReadOperations(ref Utf8JsonReader json)
    {
        List<VectorOperation> operations = [];
        Begin(ref json);
        while (Next(ref json))
        {
            Expect(ref json, JsonTokenType.StartArray, "an operation (an array)");
            string name = ReadText(ref json);
            operations.Add(name switch
            {
                "w" => ReadStores(ref json),
                "wr" => new RegisterWriteOperation(ReadOffset(ref json), ReadSize(ref json), ReadHex(ref json)) { Outputs = ReadOutputsToEnd(ref json) },
                "rd" => ReadRegisterRead(ref json),
                "tr" => new TranslateOperation(ReadRequest(ref json), ReadResponse(ref json)) { Outputs = ReadOutputsToEnd(ref json) },
                "pr" => new PageRequestOperation(ReadMessage(ref json)) { Outputs = ReadOutputsToEnd(ref json) },
                "ic" => new CompletionOperation(ReadMessage(ref json), ReadFlag(ref json)) { Outputs = ReadOutputsToEnd(ref json) },
                "to" => ReadTimeout(ref json),
                "f" => ReadFault(ref json),
                "cq" => new StepOperation { Outputs = ReadOutputsToEnd(ref json) },
                "force" => ReadForce(ref json),
                "par" => new ParametersOperation(ReadParameters(ref json)) { Outputs = ReadOutputsToEnd(ref json) },
                _ => throw Bad($"unknown operation \"{name}\""),
            });
        }

        return operations;
    }

    private StoreOperation ReadStores(ref Utf8JsonReader json)
    {
        List<(ulong, byte[])> stores = [];
        while (Next(ref json))
        {
            ulong address = Hex(ref json);
            stores.Add((address, ReadBytes(ref json)));
        }

        return new(stores);
    }

    private RegisterReadOperation ReadRegisterRead(ref Utf8JsonReader json)
    {
        uint offset = ReadOffset(ref json);
        int size = ReadSize(ref json);
        ulong value = ReadHex(ref json), mask = ulong.MaxValue;
        bool caches = false;
        if (Next(ref json))
        {
            mask = json.TokenType == JsonTokenType.Null ? mask : Hex(ref json);
            if (Next(ref json))
            {
                caches = string.Equals(Text(ref json), "c", StringComparison.Ordinal) ? true : throw Bad("unknown flag of a register read");
                End(ref json);
            }
        }

        return new(offset, size, value, mask, caches);
    }

    private TimeoutOperation ReadTimeout(ref Utf8JsonReader json)
    {
        // The tag vector is a number in the sets so far, and a quantity that may need 32 bits: take both notations.
        _ = json.Read();
        ulong tags = json.TokenType == JsonTokenType.String ? Hex(ref json) : Number(ref json);
        return new((uint)tags) { Outputs = ReadOutputsToEnd(ref json) };
    }

    private VectorOperation ReadFault(ref Utf8JsonReader json)
    {
        if (!Next(ref json))
        {
            return new DisarmFaultsOperation();
        }

        ulong address = Hex(ref json), length = ReadNumber(ref json);
        string access = ReadText(ref json), kind = ReadText(ref json);
        End(ref json);
        return access is "r" or "w" or "rw" && kind is "av" or "dc"
            ? new ArmFaultOperation(address, length, access.Contains('r', StringComparison.Ordinal), access.Contains('w', StringComparison.Ordinal), kind is "dc")
            : throw Bad($"unknown kind of fault \"{access}\" \"{kind}\"");
    }

    private ForceOperation ReadForce(ref Utf8JsonReader json)
    {
        uint offset = ReadOffset(ref json);
        if (ReadNumber(ref json) != 8)
        {
            throw Bad("\"force\" overwrites 8 bytes");
        }

        return new(offset, ReadHex(ref json)) { Outputs = ReadOutputsToEnd(ref json) };
    }

    private TransactionRequest ReadRequest(ref Utf8JsonReader json)
    {
        TransactionRequest request = new();
        _ = json.Read();
        Expect(ref json, JsonTokenType.StartObject, "a request (an object)");
        while (NextKey(ref json))
        {
            string key = json.GetString()!;
            _ = json.Read();
            ulong value = key is "a" ? Hex(ref json) : Number(ref json);
            switch (key)
            {
                case "d": request.DeviceId = (uint)value; break;
                case "p": request.ProcessId = (uint)value; break;
                case "s": request.IsPrivileged = value != 0; break;
                case "x": request.IsExecute = value != 0; break;
                case "w": request.IsWrite = value != 0; break;
                case "at": request.AddressType = value <= 2 ? (int)value : throw Bad("unknown address type"); break;
                case "nw": request.IsNoWrite = value != 0; break;
                case "cx": request.IsCxl = value != 0; break;
                case "a": request.Address = value; break;
                case "l": break;
                default: throw Bad($"unknown key \"{key}\" of a request");
            }
        }

        return request;
    }

    private TransactionResponse ReadResponse(ref Utf8JsonReader json)
    {
        TransactionResponse response = new();
        _ = json.Read();
        Expect(ref json, JsonTokenType.StartObject, "a response (an object)");
        while (NextKey(ref json))
        {
            string key = json.GetString()!;
            if (key is "mrif")
            {
                Begin(ref json);
                response.Mrif = (ReadHex(ref json), (uint)ReadNumber(ref json), ReadHex(ref json));
                End(ref json);
                continue;
            }

            _ = json.Read();
            ulong value = key is "pa" or "z" ? Hex(ref json) : Number(ref json);
            switch (key)
            {
                case "s": response.Status = (int)value; break;
                case "pa": response.Address = value; break;
                case "z": response.Size = value; break;
                case "pb": response.MemoryType = (int)value; break;
                case "msi": response.IsMsi = value != 0; break;
                case "R": response.Read = value != 0; break;
                case "W": response.Write = value != 0; break;
                case "X": response.Execute = value != 0; break;
                case "P": response.Privileged = value != 0; break;
                case "G": response.Global = value != 0; break;
                case "U": response.UntranslatedOnly = value != 0; break;
                case "N": response.NoSnoop = value != 0; break;
                case "A": response.Ama = value != 0; break;
                case "C": response.CxlIo = value != 0; break;
                default: throw Bad($"unknown key \"{key}\" of a response");
            }
        }

        return response;
    }

    private VectorMessage ReadMessage(ref Utf8JsonReader json)
    {
        _ = json.Read();
        return Message(ref json);
    }

    private VectorMessage Message(ref Utf8JsonReader json)
    {
        VectorMessage message = default;
        Expect(ref json, JsonTokenType.StartObject, "a message (an object)");
        while (NextKey(ref json))
        {
            string key = json.GetString()!;
            _ = json.Read();
            ulong value = key is "a" ? Hex(ref json) : Number(ref json);
            message = key switch
            {
                "c" => message with { Code = (int)value },
                "rid" => message with { RequesterId = (uint)value },
                "seg" => message with { Segment = (uint)value },
                "p" => message with { Pasid = (uint)value },
                "s" => message with { IsPrivileged = value != 0 },
                "x" => message with { IsExecute = value != 0 },
                "t" => message with { Tag = (uint)value },
                "a" => message with { Payload = value },
                _ => throw Bad($"unknown key \"{key}\" of a message"),
            };
        }

        return message;
    }

    /// <summary>Reads an output object if there is one, and the end of the operation.</summary>
    private ExpectedOutputs ReadOutputsToEnd(ref Utf8JsonReader json)
    {
        if (!Next(ref json))
        {
            return ExpectedOutputs.None;
        }

        ExpectedOutputs outputs = new();
        Expect(ref json, JsonTokenType.StartObject, "outputs (an object)");
        while (NextKey(ref json))
        {
            string key = json.GetString()!;
            if (key is "cache")
            {
                outputs.DependsOnCaches = ReadFlag(ref json);
                continue;
            }

            Begin(ref json);
            while (Next(ref json))
            {
                ReadOutput(ref json, key, outputs);
            }
        }

        End(ref json);
        return outputs;
    }

    private void ReadOutput(ref Utf8JsonReader json, string key, ExpectedOutputs outputs)
    {
        if (key is "g")
        {
            outputs.Messages.Add(Message(ref json));
            return;
        }

        Expect(ref json, JsonTokenType.StartArray, "an output (an array)");
        switch (key)
        {
            case "m":
                ulong address = ReadHex(ref json);
                byte[] bytes = ReadBytes(ref json);
                byte[]? mask = null;
                if (Next(ref json))
                {
                    mask = Bytes(ref json);
                    End(ref json);
                    if (mask.Length != bytes.Length)
                    {
                        throw Bad("a store and its mask differ in length");
                    }
                }

                outputs.Stores.Add(new(address, bytes, mask));
                break;
            case "i":
                outputs.Interrupts.Add(new(ReadHex(ref json), (uint)ReadHex(ref json)));
                End(ref json);
                break;
            case "y":
                outputs.Observability.Add(new(ReadFlag(ref json), ReadFlag(ref json)));
                End(ref json);
                break;
            default:
                throw Bad($"unknown output \"{key}\"");
        }
    }

    // ---- tokens. "Read…" advances first; the bare name takes the current token.
}
