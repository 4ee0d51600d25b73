using System.Numerics;
using Ioasis.Primitives;

namespace Ioasis.Replay.Report;

/// <summary>
/// Gathers one device's <see cref="IovaMap"/> in bounded memory: for each band of addresses that was ever mapped, the
/// bytes mapped times the seconds that they were, column by column. When bands or columns run out, neighbours are joined.
/// </summary>
internal sealed class IovaMapRecorder(string device)
{
    private const double FirstColumnSeconds = 1.0 / 1024;
    private const int FirstBandLog2 = 12;

    private Dictionary<ulong, Band> _bands = [];
    private int _bandLog2 = FirstBandLog2;
    private double _column = FirstColumnSeconds;

    // The reciprocal of the column: exact, for a column is a power of two.
    private double _columnsPerSecond = 1 / FirstColumnSeconds;
    private double _start = double.NaN;

    /// <summary>Adds (or, negative, takes away) live bytes from <paramref name="iova"/> on; times never go backwards.</summary>
    public void Change(Iova iova, long bytes, double seconds)
    {
        ulong length = (ulong)Math.Abs(bytes);
        if (length == 0)
        {
            return;
        }

        if (double.IsNaN(_start))
        {
            _start = seconds;
        }

        double position = (seconds - _start) * _columnsPerSecond;
        while (position >= IovaMap.MaxColumns)
        {
            JoinColumns();
            position = (seconds - _start) * _columnsPerSecond;
        }

        int column = (int)position;
        ulong last = iova.Value + (length - 1);
        while ((last >> _bandLog2) - (iova.Value >> _bandLog2) >= IovaMap.MaxRows)
        {
            JoinBands();
        }

        for (ulong start = iova.Value; ;)
        {
            ulong bandLast = start | ((1UL << _bandLog2) - 1);
            ulong partLast = Math.Min(last, bandLast);
            Band band = GetBand(start);
            Integrate(band, seconds);
            band.Touch(column, EndOf(column));
            band.LiveBytes += Math.Sign(bytes) * (double)(partLast - start + 1);
            if (partLast == last)
            {
                return;
            }

            start = partLast + 1;
        }
    }

    /// <summary>The map up to <paramref name="endSeconds"/>.</summary>
    public IovaMap ToReport(double endSeconds)
    {
        // The recording may go on after this device's last event.
        while ((endSeconds - _start) * _columnsPerSecond >= IovaMap.MaxColumns)
        {
            JoinColumns();
        }

        // A column that would begin where the recording ends has no width.
        int columns = double.IsNaN(_start) ? 0 : Math.Max(1, (int)Math.Ceiling((endSeconds - _start) / _column));
        double bandBytes = BitOperations.RotateLeft(1UL, _bandLog2);
        List<IovaBand> rows = [];
        foreach ((ulong number, Band band) in _bands.OrderBy(b => b.Key))
        {
            Integrate(band, endSeconds);
            band.Close();
            byte[] percent = new byte[columns];
            for (int i = 0; i < columns; i++)
            {
                double covered = Math.Min(_column, endSeconds - (_start + (i * _column)));
                double share = covered > 0 ? band.ByteSeconds[i] / (bandBytes * covered) : 0;
                percent[i] = (byte)Math.Clamp(Math.Ceiling((share * 100) - 1e-6), 0, 100);
                if (percent[i] == 0 && (share > 0 || band.Touched[i] || (i == columns - 1 && band.Touched[ColumnOf(endSeconds)])))
                {
                    percent[i] = 1;
                }
            }

            rows.Add(new(new(number << _bandLog2), percent));
        }

        return new()
        {
            Device = device,
            BandBytes = 1L << _bandLog2,
            StartSeconds = double.IsNaN(_start) ? 0 : _start,
            ColumnSeconds = _column,
            Bands = rows,
        };
    }

    private int ColumnOf(double seconds) => (int)((seconds - _start) * _columnsPerSecond);

    private double EndOf(int column) => _start + ((column + 1) * _column);

    private Band GetBand(ulong address)
    {
        if (_bands.TryGetValue(address >> _bandLog2, out Band? band))
        {
            return band;
        }

        while (_bands.Count >= IovaMap.MaxRows && !_bands.ContainsKey(address >> _bandLog2))
        {
            JoinBands();
        }

        if (!_bands.TryGetValue(address >> _bandLog2, out band))
        {
            band = new() { Seconds = _start };
            _bands.Add(address >> _bandLog2, band);
        }

        return band;
    }

    private void Integrate(Band band, double seconds)
    {
        if (band.TryAddUntil(seconds))
        {
            return;
        }

        if (band.LiveBytes <= 0)
        {
            band.Seconds = Math.Max(band.Seconds, seconds);
            return;
        }

        while (band.Seconds < seconds)
        {
            int column = ColumnOf(band.Seconds);
            double end = EndOf(column);
            double until = end < seconds ? end : seconds;
            if (until <= band.Seconds)
            {
                // The end of the column rounds to where we are: what is left of it is nothing.
                until = Math.BitIncrement(band.Seconds);
            }

            band.Add(column, end, band.LiveBytes * (until - band.Seconds));
            band.Seconds = until;
        }
    }

    private void JoinColumns()
    {
        foreach (Band band in _bands.Values)
        {
            band.Close();
            for (int i = 0; i < IovaMap.MaxColumns / 2; i++)
            {
                band.ByteSeconds[i] = band.ByteSeconds[2 * i] + band.ByteSeconds[(2 * i) + 1];
                band.Touched[i] = band.Touched[2 * i] || band.Touched[(2 * i) + 1];
            }

            Array.Clear(band.ByteSeconds, IovaMap.MaxColumns / 2, IovaMap.MaxColumns / 2);
            Array.Clear(band.Touched, IovaMap.MaxColumns / 2, IovaMap.MaxColumns / 2);
        }

        _column *= 2;
        _columnsPerSecond /= 2;
    }

    private void JoinBands()
    {
        Dictionary<ulong, Band> joined = new(_bands.Count);
        foreach ((ulong number, Band band) in _bands)
        {
            if (!joined.TryGetValue(number >> 1, out Band? other))
            {
                joined.Add(number >> 1, band);
                continue;
            }

            double seconds = Math.Max(band.Seconds, other.Seconds);
            Catch(band, seconds);
            Catch(other, seconds);
            band.Close();
            other.Close();
            other.LiveBytes += band.LiveBytes;
            for (int i = 0; i < IovaMap.MaxColumns; i++)
            {
                other.ByteSeconds[i] += band.ByteSeconds[i];
                other.Touched[i] |= band.Touched[i];
            }
        }

        _bands = joined;
        _bandLog2++;

        void Catch(Band band, double seconds)
        {
            if (band.Seconds < seconds && band.LiveBytes > 0)
            {
                Integrate(band, seconds);
            }

            band.Seconds = seconds;
        }
    }

    private sealed class Band
    {
        // The column that events come into now, out of the arrays: a change touches this object and no other.
        private int _column = -1;
        private double _columnEnd;
        private double _byteSeconds;
        private bool _isTouched;

        public double[] ByteSeconds { get; } = new double[IovaMap.MaxColumns];

        public bool[] Touched { get; } = new bool[IovaMap.MaxColumns];

        public double LiveBytes { get; set; }

        public double Seconds { get; set; }

        /// <summary>Adds what passed since the last change, if the column that is open holds all of it.</summary>
        public bool TryAddUntil(double seconds)
        {
            if (_column < 0 || seconds > _columnEnd || !(LiveBytes > 0) || !(seconds > Seconds))
            {
                return false;
            }

            _byteSeconds += LiveBytes * (seconds - Seconds);
            Seconds = seconds;
            return true;
        }

        public void Add(int column, double end, double byteSeconds)
        {
            Open(column, end);
            _byteSeconds += byteSeconds;
        }

        public void Touch(int column, double end)
        {
            Open(column, end);
            _isTouched = true;
        }

        /// <summary>Has the arrays hold everything.</summary>
        public void Close()
        {
            if (_column >= 0)
            {
                ByteSeconds[_column] = _byteSeconds;
                Touched[_column] = _isTouched;
                _column = -1;
            }
        }

        private void Open(int column, double end)
        {
            if (column != _column)
            {
                Close();
                _column = column;
                _columnEnd = end;
                _byteSeconds = ByteSeconds[column];
                _isTouched = Touched[column];
            }
        }
    }
}
