namespace Ioasis.Replay.Planning;

/// <summary>A list that grows at its end and is taken from at its front.</summary>
internal sealed class SlidingList<T>
{
    private T[] _items = new T[4];
    private int _first;

    /// <summary>How many items there are.</summary>
    public int Count { get; private set; }

    /// <summary>One item, from 0 for the oldest.</summary>
    public ref readonly T this[int index] => ref _items[_first + index];

    /// <summary>Adds one.</summary>
    public void Add(in T item)
    {
        if (_first + Count == _items.Length)
        {
            // Moved to the front where half of it is free, so that an item is moved once on the average.
            T[] items = _first >= _items.Length / 2 ? _items : new T[_items.Length * 2];
            Array.Copy(_items, _first, items, 0, Count);
            _items = items;
            _first = 0;
        }

        _items[_first + Count++] = item;
    }

    /// <summary>Takes the oldest away.</summary>
    public void RemoveFirst()
    {
        _first++;
        Count--;
    }

    /// <summary>Where the first item is that is later than a time, if the items' times rise.</summary>
    /// <param name="at">The time.</param>
    /// <param name="timeOf">Tells an item's time.</param>
    public int FirstAfter(double at, Func<T, double> timeOf)
    {
        int low = 0;
        int high = Count;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (timeOf(_items[_first + middle]) <= at)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
